//! Gateways on one database, the keys they know, and what is asked of them before and after an outage.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use hokusai_gateway::clock;
use hokusai_gateway::model::key_hash::KeyHash;
use serde_json::Value;

use crate::load::{Load, Record, made_up};
use crate::support::postgres::Database;
use crate::support::{Gateway, Key, Request, Upstream, begin_within_an_hour, eventually};

/// After the server's return.
const HEALED_WITHIN: Duration = Duration::from_secs(2);
/// After the statement's commit, where the gateway hears of it.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
/// Other tests share the cores, and a question here is an answer of a process that has to be started first.
const SLACK: Duration = Duration::from_secs(2);
/// How long each state of the servers goes on, at least.
pub const A_WHILE: Duration = Duration::from_secs(1);

/// What `scarce` may do in an hour.
const SCARCE: u64 = 200;
/// What two gateways may admit beyond a limit when their authority goes and returns: the last leases of the other, which one had
/// not heard of when it took its half of the rest, and what one lets in on its own until it asks again as the other does already.
pub const UNHEARD: u64 = SCARCE / 4;
/// And where one may find the new authority seconds before the other: all of the other's half.
pub const HALF: u64 = SCARCE / 2;

pub struct Fleet {
    pub gateways: Vec<Gateway>,
    /// Known to every gateway; their limits are far away.
    pub unlimited: Key,
    pub limited: Key,
    /// Known too; asks its authority for each of its requests in turn, and load spends it within seconds.
    pub scarce: Key,
    /// In the database, and known to no gateway yet.
    fresh: Mutex<Vec<Key>>,
    /// Depends on none of the servers.
    control: Gateway,
    app: Upstream,
    settings: String,
}

impl Fleet {
    /// `url` leads to the database, perhaps by a detour; `own` are further settings.
    pub fn start(size: usize, database: &Database<'_>, url: &str, own: &str) -> Self {
        begin_within_an_hour();
        let app = Upstream::ok();
        let settings = format!("store.url = \"{url}\"\n{own}");
        let mut gateways: Vec<_> = (0..size).map(|_| Gateway::stopped(app.address(), &settings)).collect();
        gateways[0].cli_json(&["migrate", "up"]);
        let key = |name: &str, limit: &str| insert(database, name, limit);
        let fresh = (0..8).map(|number| key(&format!("fresh-{number}"), "NULL")).collect();
        let (unlimited, limited, scarce) = (key("unlimited", "NULL"), key("limited", "3000"), key("scarce", &SCARCE.to_string()));
        gateways.iter_mut().for_each(Gateway::run);
        let control = Gateway::start(app.address(), "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]");
        let fleet = Self { gateways, unlimited, limited, scarce, fresh: Mutex::new(fresh), control, app, settings };
        for key in fleet.known() {
            assert!(fleet.statuses(key).iter().all(|status| *status == 200));
        }
        fleet
    }

    /// On a Redis, too.
    pub fn with_redis(size: usize, database: &Database<'_>, url: &str, redis_port: u16) -> Self {
        Self::start(size, database, url, &format!("redis.url = \"redis://127.0.0.1:{redis_port}\""))
    }

    pub fn known(&self) -> [&Key; 3] {
        [&self.unlimited, &self.limited, &self.scarce]
    }

    /// Until it is ended, by the known keys and by made-up ones.
    pub fn load(&self) -> Load {
        self.load_on(&self.gateways, &self.known())
    }

    pub fn load_on(&self, gateways: &[Gateway], keys: &[&Key]) -> Load {
        Load::start(gateways, keys, &self.control)
    }

    pub fn fresh(&self) -> Key {
        self.fresh.lock().expect("no test panics under the lock").pop().expect("there are enough")
    }

    /// One more, that has asked nobody anything yet.
    pub fn another(&self) -> Gateway {
        let mut gateway = Gateway::stopped(self.app.address(), &self.settings);
        gateway.run();
        gateway
    }

    /// Of one request at each gateway, all at once.
    pub fn statuses(&self, key: &Key) -> Vec<u16> {
        thread::scope(|scope| {
            let asked: Vec<_> = self.gateways.iter().map(|gateway| scope.spawn(|| status(gateway, &key.secret))).collect();
            asked.into_iter().map(|asked| asked.join().expect("it is answered")).collect()
        })
    }

    /// How the first gateway answers many that ask at once, each kind of answer once.
    pub fn burst_of_made_up_keys(&self) -> Vec<u16> {
        let mut statuses: Vec<u16> = thread::scope(|scope| {
            let asked: Vec<_> = (0..32).map(|_| scope.spawn(|| status(&self.gateways[0], &made_up()))).collect();
            asked.into_iter().map(|asked| asked.join().expect("it is answered")).collect()
        });
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    }

    /// That all is as before: keys that nobody has seen are looked up, and every part says that it is well.
    #[track_caller]
    pub fn is_healed(&self, back: Instant) {
        let fresh = self.fresh();
        for gateway in &self.gateways {
            eventually("the gateway is healed", || {
                let metrics = gateway.metrics();
                let is_up = |name: &str| metrics.get(name).is_none_or(|up| *up == 1);
                is_up("gateway_store_up") && is_up("gateway_redis_up") && status(gateway, &fresh.secret) == 200
            });
            assert_eq!(status(gateway, &made_up()), 401);
        }
        let took = clock::monotonic() - back;
        assert!(took < HEALED_WITHIN + SLACK, "{took:?}");
    }

    /// That a key of this moment, revoked by plain SQL, is refused by every gateway in time.
    #[track_caller]
    pub fn a_revocation_is_heard(&self, database: &Database<'_>) {
        let key = self.fresh();
        assert_eq!(self.statuses(&key), vec![200; self.gateways.len()]);
        revoke(database, &key);
        self.is_refused(&key, clock::monotonic());
    }

    #[track_caller]
    pub fn is_refused(&self, key: &Key, since: Instant) {
        eventually("the key is refused", || self.statuses(key).iter().all(|status| *status == 401));
        let took = clock::monotonic() - since;
        assert!(took < REVOKED_WITHIN + SLACK, "{took:?}");
    }

    /// That what was spent is counted, and is not more than the limit and `excess`.
    #[track_caller]
    pub fn limits_held(&self, record: &Record, excess: u64) {
        self.spent_is_counted(record, |used, spent| used == spent);
        let most_is_used = |used| used > SCARCE / 4 && used <= SCARCE + excess;
        eventually("the scarce key's limit is neither left alone nor exceeded", || {
            self.used(&self.scarce).is_some_and(most_is_used)
        });
    }

    /// That nothing that was spent is forgotten; some may be counted twice.
    #[track_caller]
    pub fn limits_are_told(&self, record: &Record) {
        self.spent_is_counted(record, |used, spent| used >= spent);
    }

    fn spent_is_counted(&self, record: &Record, is_right: impl Fn(u64, u64) -> bool) {
        for key in [&self.limited, &self.scarce] {
            let spent = record.admitted_of(key) + self.gateways.len() as u64;
            eventually("what was spent is counted", || self.used(key).is_some_and(|used| is_right(used, spent)));
        }
    }

    /// `None` when there was no time for it: a command that meets a server which hangs has little left for the other.
    fn used(&self, key: &Key) -> Option<u64> {
        let output = self.gateways[0].cli(&["limits", "show", &key.id, "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).ok()?["used"].as_u64()
    }
}

pub fn status(gateway: &Gateway, secret: &str) -> u16 {
    gateway.ask(&Request::get("/").header("X-API-Key", secret)).status
}

pub fn revoke(database: &Database<'_>, key: &Key) {
    database.sql(&format!("UPDATE api_keys SET is_active = FALSE WHERE key_id = '{}'", key.id));
}

/// `limit` as SQL has it.
fn insert(database: &Database<'_>, name: &str, limit: &str) -> Key {
    let secret = made_up();
    let hash = KeyHash::of(secret.as_bytes()).to_hex();
    database.sql(&format!(
        "INSERT INTO api_keys (key_id, key_hash, key_prefix, user_id, name, rate_limit_per_hour, minted)
         VALUES ('{name}', '{hash}', 'hk', 'ada', '{name}', {limit}, TRUE)"
    ));
    Key { secret, id: name.to_owned() }
}
