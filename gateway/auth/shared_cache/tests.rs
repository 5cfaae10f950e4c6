//! Gateways that share a real Redis and a store.

use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::auth::lookup::Lookup;
use crate::auth::watch::Watch;
use crate::clock;
use crate::config::OnAuthorityFailure;
use crate::drain::Tasks;
use crate::limits::{Authority, Limiter};
use crate::model::key_record::Standing;
use crate::redis::PATIENCE;
use crate::redis::testing::{SHARED, Server, fresh_prefix};
use crate::store::Store;
use crate::store::sqlite::testing::Folder;
use crate::store::testing::{NOW, add_key, config, hash};

/// A store and a Redis under a prefix of their own.
struct Place {
    folder: Folder,
    redis: config::Redis,
}

impl Place {
    async fn on(server: &Server) -> (Self, Store) {
        let (folder, store) = Folder::migrated().await;
        (Self { folder, redis: config::Redis::at(&server.url(), &fresh_prefix()) }, store)
    }

    async fn redis(&self, tasks: &Tasks) -> (Arc<Redis>, Arc<Metrics>) {
        let metrics = Arc::<Metrics>::default();
        (Redis::connect(&self.redis, &metrics, tasks).await, metrics)
    }

    /// One that follows the changes.
    async fn cache(&self) -> SharedCache {
        let (redis, metrics) = self.redis(&Tasks::new()).await;
        let cache = SharedCache::new(&config("").keys, redis, metrics);
        cache.listens_anew();
        cache
    }

    /// One that trusts what is put into Redis from now on.
    async fn trusting_cache(&self) -> SharedCache {
        let cache = self.cache().await;
        trusts(&cache).await;
        cache
    }
}

/// A gateway as far as keys go.
struct Gateway {
    lookup: Arc<Lookup>,
    shared: Arc<SharedCache>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    _spool: TempDir,
}

impl Gateway {
    /// Returns once it follows the store.
    async fn start(place: &Place, store: Store) -> Self {
        let (tasks, spool, policy) = (Tasks::new(), tempfile::tempdir().unwrap(), OnAuthorityFailure::Reject);
        let (redis, metrics) = place.redis(&tasks).await;
        let (background, id) = (Handle::current(), spool.path().to_str().unwrap().to_owned());
        let authority = Authority::new(store.clone(), Some(Arc::clone(&redis)));
        let limiter = Limiter::start(spool.path(), &id, authority, policy, tasks.clone(), background.clone()).await.unwrap();
        let rules = config("").keys;
        let shared = Arc::new(SharedCache::new(&rules, redis, Arc::clone(&metrics)));
        let (to_share, counted) = (Some(Arc::clone(&shared)), Arc::clone(&metrics));
        let lookup = Lookup::new(
            &rules,
            to_share.clone(),
            store.clone(),
            Arc::clone(&limiter),
            counted.clone(),
            background,
            tasks.clone(),
        );
        let watch = Watch { gateway_id: id, store, lookup: Arc::clone(&lookup), shared: to_share, limiter, metrics: counted };
        tasks.spawn(watch.run(tasks.clone(), tokio::sync::oneshot::channel().0));
        until(async || !lookup.store_has_foreign_keys()).await;
        Self { lookup, shared, metrics, tasks, _spool: spool }
    }

    async fn standing(&self, secret: &str) -> Option<Standing> {
        self.lookup
            .find(hash(secret), secret.as_bytes(), clock::monotonic())
            .await
            .unwrap()
            .map(|known| known.validity().standing(NOW))
    }

    fn hits(&self) -> (u64, u64) {
        (self.metrics.lookups(Layer::Redis, LookupResult::Hit), self.metrics.lookups(Layer::Store, LookupResult::Hit))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

async fn until(mut fact: impl AsyncFnMut() -> bool) {
    let bound = clock::monotonic() + Duration::from_secs(10);
    while !fact().await {
        assert!(clock::monotonic() < bound, "it did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Records put into Redis from now on are trusted.
async fn trusts(cache: &SharedCache) {
    until(async || {
        cache.find(hash("nobody's")).await;
        // Here both have the same clock.
        cache.trust().from.is_some_and(|from| from < clock::now().as_millis())
    })
    .await;
}

fn key(secret: &str) -> FoundKey {
    FoundKey { hash: hash(secret), secret_expires_at: None, record: crate::store::testing::record(secret) }
}

/// The place for it, which must be free. On a busy machine Redis may not answer in time, and keep the place until it expires.
async fn place_for(cache: &SharedCache, secret: &str) -> super::Place {
    let bound = clock::monotonic() + Duration::from_secs(10);
    loop {
        if let Finding::Place(place) = cache.find(hash(secret)).await {
            return place;
        }
        assert!(clock::monotonic() < bound, "the place is not free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn finds(cache: &SharedCache, secret: &str) -> bool {
    matches!(cache.find(hash(secret)).await, Finding::Key { key: found, .. } if *found == key(secret))
}

#[tokio::test]
async fn what_one_gateway_read_from_the_store_another_finds_in_redis() {
    let (place, store) = Place::on(&SHARED).await;
    add_key(&store, "k").await;
    let (one, other) = (Gateway::start(&place, store.clone()).await, Gateway::start(&place, store).await);
    trusts(&one.shared).await;
    trusts(&other.shared).await;
    assert_eq!(one.standing("k").await, Some(Standing::Good));
    until(async || SHARED.cli(&["get", &one.shared.place_of(hash("k"))]).contains("\"is_active\":true")).await;
    assert_eq!(other.standing("k").await, Some(Standing::Good));
    assert_eq!((one.hits(), other.hits()), ((0, 1), (1, 0)));
}

#[tokio::test]
async fn a_change_by_plain_sql_takes_the_record_from_redis_and_is_seen_by_all() {
    let (place, store) = Place::on(&SHARED).await;
    add_key(&store, "k").await;
    let (one, other) = (Gateway::start(&place, store.clone()).await, Gateway::start(&place, store).await);
    for gateway in [&one, &other] {
        trusts(&gateway.shared).await;
        assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    }
    place.folder.shell().execute_batch("UPDATE api_keys SET is_active = FALSE").unwrap();
    for gateway in [&one, &other] {
        until(async || gateway.standing("k").await == Some(Standing::Inactive)).await;
    }
    let new = Gateway::start(&place, place.folder.store()).await;
    assert_eq!(new.standing("k").await, Some(Standing::Inactive));
}

#[tokio::test]
async fn a_slow_read_from_before_a_change_is_not_put_into_redis() {
    let (place, _store) = Place::on(&SHARED).await;
    let (slow, hearing) = (place.trusting_cache().await, place.trusting_cache().await);
    let given = place_for(&slow, "k").await;
    hearing.doubt(hash("k"));
    hearing.forget_changed().await;
    slow.fill(given, &key("k")).await;
    assert!(!finds(&slow, "k").await);
    // Nor when somebody reads anew meanwhile.
    SHARED.cli(&["del", &slow.place_of(hash("k"))]);
    let given = place_for(&slow, "k").await;
    SHARED.cli(&["del", &slow.place_of(hash("k"))]);
    let newer = place_for(&hearing, "k").await;
    slow.fill(given, &key("k")).await;
    assert!(!finds(&slow, "k").await);
    hearing.fill(newer, &key("k")).await;
    assert!(finds(&slow, "k").await);
}

#[tokio::test]
async fn a_gateway_does_not_trust_what_was_read_before_it_listened() {
    let (place, _store) = Place::on(&SHARED).await;
    let old = place.trusting_cache().await;
    old.fill(place_for(&old, "k").await, &key("k")).await;
    assert!(finds(&old, "k").await);
    let deaf = place.cache().await;
    *deaf.lock_trust() = Trust::default();
    assert!(matches!(deaf.find(hash("k")).await, Finding::Nothing), "it does not follow the changes yet");
    let new = place.trusting_cache().await;
    assert!(!finds(&new, "k").await);
    old.fill(place_for(&old, "other").await, &key("other")).await;
    assert!(finds(&new, "other").await);
    new.listens_anew();
    assert!(!finds(&new, "other").await, "nor what was read before it listened anew");
}

#[tokio::test]
async fn what_was_heard_of_is_not_looked_for_in_redis_until_it_is_gone_there() {
    let server = Server::start();
    let (place, _store) = Place::on(&server).await;
    let cache = place.trusting_cache().await;
    cache.fill(place_for(&cache, "k").await, &key("k")).await;
    cache.fill(place_for(&cache, "other").await, &key("other")).await;
    cache.doubt(hash("k"));
    assert!(matches!(cache.find(hash("k")).await, Finding::Nothing));
    assert!(finds(&cache, "other").await);
    server.freeze();
    let asked_at = clock::monotonic();
    cache.forget_changed().await;
    assert!(clock::monotonic() - asked_at < 3 * PATIENCE);
    server.thaw();
    until(async || cache.redis.is_up()).await;
    assert!(!finds(&cache, "other").await, "Redis did not confirm, so nothing there is trusted");
}

#[tokio::test]
async fn a_redis_that_may_have_forgotten_the_end_of_a_record_is_not_trusted() {
    let (place, _store) = Place::on(&SHARED).await;
    let cache = place.trusting_cache().await;
    cache.fill(place_for(&cache, "k").await, &key("k")).await;
    assert!(finds(&cache, "k").await);
    cache.redis.has_forgotten();
    assert!(!finds(&cache, "k").await);
}

#[tokio::test]
async fn a_record_ends_with_the_time_it_may_be_cached_counted_from_its_reading() {
    let (place, _store) = Place::on(&SHARED).await;
    let cache = place.trusting_cache().await;
    let given = place_for(&cache, "k").await;
    let read_at = given.given_at;
    cache.fill(given, &key("k")).await;
    let ends_at: u64 = SHARED.cli(&["pexpiretime", &cache.place_of(hash("k"))]).parse().unwrap();
    assert_eq!(ends_at, read_at + cache.cache_ttl.load(Ordering::Relaxed));
    let Finding::Key { age, .. } = cache.find(hash("k")).await else { panic!("it is there") };
    assert!(age <= clock::now().as_millis() - read_at);
}

#[tokio::test]
async fn who_does_not_reach_the_store_hears_of_a_change_from_who_does() {
    let (place, _store) = Place::on(&SHARED).await;
    let (cut_off, telling) = (place.cache().await, place.cache().await);
    let heard = AtomicUsize::new(0);
    let told = async {
        until(async || {
            // Until the other has subscribed. Each time as if the last time were long ago.
            SHARED.cli(&["del", &telling.place_of(hash("k"))]);
            telling.doubt(hash("k"));
            telling.forget_changed().await;
            heard.load(Ordering::Relaxed) > 0
        })
        .await;
    };
    let listening = cut_off.hear(|change| {
        assert_eq!(change, Some(hash("k")));
        heard.fetch_add(1, Ordering::Relaxed);
    });
    tokio::select! {
        () = listening => {}
        () = told => {}
    }
}

#[tokio::test]
async fn with_redis_gone_the_store_is_asked_and_no_request_waits_twice() {
    let server = Server::start();
    let (place, store) = Place::on(&server).await;
    for secret in ["a", "b", "c"] {
        add_key(&store, secret).await;
    }
    let gateway = Gateway::start(&place, store).await;
    assert_eq!(gateway.standing("a").await, Some(Standing::Good));
    server.freeze();
    let asked_at = clock::monotonic();
    assert_eq!(gateway.standing("b").await, Some(Standing::Good));
    assert_eq!(gateway.standing("c").await, Some(Standing::Good));
    assert!(clock::monotonic() - asked_at < 4 * PATIENCE);
    assert_eq!(gateway.metrics.lookups(Layer::Redis, LookupResult::Error), 2);
    assert_eq!(gateway.hits(), (0, 3));
}
