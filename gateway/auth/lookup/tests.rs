//! Look-ups that follow a real store: what is changed there reaches here, whatever is in between.

mod first_use;

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::auth::watch::Watch;
use crate::config::OnAuthorityFailure;
use crate::limits::Authority;
use crate::model::key_record::Standing;
use crate::store::testing::postgres_server::{Database, SHARED};
use crate::store::testing::tcp_proxy::TcpProxy;
use crate::store::testing::{NOW, Place, add_key, config, hash, hold_on_every_store, postgres_store};
use crate::store::{KeyChanges, Update};

/// How long a fact may take to come true on a busy machine. Hit only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

hold_on_every_store! {
    a_revocation_reaches_every_gateway,
    plain_sql_reaches_every_gateway,
}

/// A gateway as far as keys go.
struct Gateway {
    lookup: Arc<Lookup>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    _spool: TempDir,
}

impl Gateway {
    /// Returns once it follows a store that has no foreign keys.
    async fn start(id: &str, store: Store) -> Self {
        let gateway = Self::start_beside(id, store).await;
        eventually(async || !gateway.lookup.store_has_foreign_keys()).await;
        gateway
    }

    async fn start_beside(id: &str, store: Store) -> Self {
        let (tasks, metrics, spool) = (Tasks::new(), Arc::<Metrics>::default(), tempfile::tempdir().unwrap());
        let (background, policy) = (Handle::current(), OnAuthorityFailure::Reject);
        let authority = Authority::new(store.clone(), None);
        let limiter = Limiter::start(spool.path(), id, authority, policy, tasks.clone(), background.clone()).await.unwrap();
        let rules = config("").keys;
        let lookup =
            Lookup::new(&rules, None, store.clone(), Arc::clone(&limiter), Arc::clone(&metrics), background, tasks.clone());
        let watch = Watch {
            gateway_id: id.to_owned(),
            store,
            lookup: Arc::clone(&lookup),
            shared: None,
            limiter,
            metrics: Arc::clone(&metrics),
        };
        tasks.spawn(watch.run(tasks.clone(), oneshot::channel().0));
        Self { lookup, metrics, tasks, _spool: spool }
    }

    async fn standing(&self, secret: &str) -> Option<Standing> {
        self.lookup
            .find(hash(secret), secret.as_bytes(), clock::monotonic())
            .await
            .unwrap()
            .map(|known| known.validity().standing(NOW))
    }

    fn holds(&self, secret: &str) -> bool {
        self.lookup.known.peek(&hash(secret)).is_some()
    }

    fn times_in_doubt(&self) -> u64 {
        self.lookup.doubted.load(Ordering::Acquire)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

async fn eventually(holds: impl AsyncFn() -> bool) {
    let deadline = clock::monotonic() + PATIENCE;
    while !holds().await {
        assert!(clock::monotonic() < deadline, "it did not come true within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Several gateways that hold this key.
async fn gateways_with(secret: &str, place: &Place) -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let gateway = Gateway::start(id, place.store()).await;
        assert_eq!(gateway.standing(secret).await, Some(Standing::Good));
        gateways.push(gateway);
    }
    gateways
}

async fn a_revocation_reaches_every_gateway(place: Place, store: Store) {
    let id = add_key(&store, "k").await;
    let gateways = gateways_with("k", &place).await;
    store.revoke_key(&id, NOW).await.unwrap();
    for gateway in gateways {
        eventually(async || gateway.standing("k").await == Some(Standing::Inactive)).await;
    }
}

async fn plain_sql_reaches_every_gateway(place: Place, store: Store) {
    add_key(&store, "k").await;
    let gateways = gateways_with("k", &place).await;
    place.sql("UPDATE api_keys SET is_active = FALSE");
    for gateway in &gateways {
        eventually(async || gateway.standing("k").await == Some(Standing::Inactive)).await;
    }
    place.sql("DELETE FROM api_keys");
    for gateway in &gateways {
        eventually(async || gateway.standing("k").await.is_none()).await;
    }
}

/// Made-up keys with a good checksum: only the store can tell.
#[tokio::test]
async fn a_flood_of_made_up_keys_asks_the_store_at_a_bounded_rate_and_stops_no_known_key() {
    let (_place, store) = Place::sqlite().await;
    add_key(&store, "k").await;
    let gateway = Gateway::start("gateway", store).await;
    assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    let began = clock::monotonic();
    let find = async |secret: String| gateway.lookup.find(hash(&secret), secret.as_bytes(), clock::monotonic()).await;
    let flood = join_all((0..20_000).map(|number| find(format!("made up {number}"))));
    // Polled when all of the flood has been once.
    let meanwhile = async { find("k".to_owned()).now_or_never() };
    let (answers, known) = join(flood, meanwhile).await;
    assert!(matches!(known, Some(Ok(Some(_)))), "a known key waits for nothing");
    let asked = answers.iter().filter(|answer| matches!(answer, Ok(None))).count();
    assert!((10_000..=10_000 + millis(clock::monotonic() - began)).contains(&(asked as u64)), "{asked} questions");
    assert!(gateway.holds("k"));
}

/// A database with the key `k`, and its pool and its listener each behind a proxy.
struct Proxied {
    database: Database<'static>,
    pool: TcpProxy,
    listener: TcpProxy,
    direct: Store,
}

impl Proxied {
    async fn new() -> Self {
        let database = SHARED.database();
        let direct = postgres_store(&database.url());
        direct.migrate_up().await.unwrap();
        add_key(&direct, "k").await;
        add_key(&direct, "other").await;
        Self { database, pool: TcpProxy::before(SHARED.port()), listener: TcpProxy::before(SHARED.port()), direct }
    }

    /// Its pool has one connection, on which the look-up is prepared.
    async fn gateway(&self) -> Gateway {
        let (pool, listener) = (self.database.url_through(self.pool.port()), self.database.url_through(self.listener.port()));
        let store = format!("url = \"{pool}\"\nlisten_url = \"{listener}\"\npool_size = 1\ntimeout = \"20s\"");
        let gateway = Gateway::start("gateway", Store::open(&config(&store).store)).await;
        assert_eq!(gateway.standing("other").await, Some(Standing::Good));
        gateway
    }

    async fn revoke_and_wait_for(&self, gateway: &str) {
        self.direct.revoke_key(&"k".into(), NOW).await.unwrap();
        let question = self.direct.ask_confirmation(&"k".into()).await.unwrap();
        eventually(async || self.direct.confirmed_by(question).await.unwrap() == [gateway]).await;
    }
}

#[tokio::test]
async fn a_read_from_before_a_revocation_does_not_bring_the_key_back() {
    let proxied = Proxied::new().await;
    let gateway = proxied.gateway().await;
    proxied.pool.hold();
    let revocation = async {
        eventually(async || proxied.pool.held() > 0).await;
        proxied.revoke_and_wait_for("gateway").await;
        proxied.pool.let_go();
    };
    let (standing, ()) = tokio::join!(gateway.standing("k"), revocation);
    assert_eq!(standing, Some(Standing::Inactive));
    assert_eq!(gateway.standing("k").await, Some(Standing::Inactive));
}

#[tokio::test]
async fn what_was_changed_while_nobody_listened_is_known_once_somebody_does() {
    let proxied = Proxied::new().await;
    let gateway = proxied.gateway().await;
    assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    proxied.listener.cut();
    eventually(async || gateway.metrics.store_up.get() == 0).await;
    proxied.direct.revoke_key(&"k".into(), NOW).await.unwrap();
    assert_eq!(gateway.standing("k").await, Some(Standing::Good), "it could not hear of it");
    proxied.listener.mend();
    eventually(async || gateway.standing("k").await == Some(Standing::Inactive)).await;
}

#[tokio::test]
async fn a_confirmation_that_was_asked_for_while_nobody_listened_is_given_once_somebody_does() {
    let proxied = Proxied::new().await;
    let gateway = proxied.gateway().await;
    assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    proxied.listener.cut();
    eventually(async || gateway.metrics.store_up.get() == 0).await;
    proxied.pool.hold();
    let mend = async { proxied.listener.mend() };
    tokio::join!(proxied.revoke_and_wait_for("gateway"), mend);
    assert!(!gateway.holds("k"), "whoever waits is told only once the key is gone, also where the store cannot be asked again");
    proxied.pool.let_go();
}

#[tokio::test]
async fn a_key_in_doubt_waits_shortly_and_once_for_a_store_that_does_not_answer_and_serves_on() {
    let proxied = Proxied::new().await;
    let gateway = proxied.gateway().await;
    assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    let before = gateway.times_in_doubt();
    proxied.pool.hold();
    proxied.listener.cut();
    proxied.listener.mend();
    eventually(async || gateway.times_in_doubt() > before).await;
    let asked = clock::monotonic();
    assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    let waited = clock::monotonic().duration_since(asked);
    assert!(waited >= DOUBT_WAITS && waited < Duration::from_secs(2), "{waited:?}");
    for _ in 0..100 {
        assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    }
    assert!(clock::monotonic().duration_since(asked) < 50 * DOUBT_WAITS, "no other request waits for the same question");
    proxied.pool.let_go();
    eventually(async || gateway.lookup.flights.is_empty()).await;
    let asked = clock::monotonic();
    assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    assert!(clock::monotonic().duration_since(asked) < DOUBT_WAITS, "it is out of doubt");
}

#[tokio::test]
async fn a_change_reaches_four_gateways_within_milliseconds() {
    let (place, store) = Place::postgres().await;
    add_key(&store, "k").await;
    let gateways = gateways_with("k", &place).await;
    let mut latencies = Vec::new();
    for round in 0..40 {
        let name = Update::Set(format!("name {round}"));
        store.update_key(&"k".into(), KeyChanges { name, ..KeyChanges::default() }).await.unwrap();
        let committed = clock::monotonic();
        for gateway in &gateways {
            eventually(async || !gateway.holds("k")).await;
        }
        latencies.push(clock::monotonic().duration_since(committed));
        for gateway in &gateways {
            gateway.standing("k").await;
        }
    }
    latencies.sort();
    assert!(latencies[20] < Duration::from_millis(50) && latencies[39] < Duration::from_secs(1), "{latencies:?}");
}
