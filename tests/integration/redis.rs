//! Gateways that share a Redis, and what becomes of them without it.

use std::cell::Cell;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hokusai_gateway::clock;
use hokusai_gateway::model::key_hash::KeyHash;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::redis::{Server, fresh_prefix};
use crate::support::{Gateway, Key, Request, Upstream, begin_within_an_hour, eventually};

/// What a known key waits at most, whatever is frozen.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Gateways on one store and one Redis, before one upstream.
pub struct Fleet {
    pub gateways: Vec<Gateway>,
    _upstream: Upstream,
    store: TempDir,
}

impl Fleet {
    fn start(size: usize, redis: &Server, on_redis_failure: &str) -> Self {
        let mut fleet = Self::stopped(size, &redis.url(), on_redis_failure);
        fleet.gateways.iter_mut().for_each(Gateway::run);
        fleet
    }

    /// Everything but the processes.
    pub fn stopped(size: usize, redis_url: &str, on_redis_failure: &str) -> Self {
        let (upstream, store) = (Upstream::ok(), tempfile::tempdir().expect("a temporary folder"));
        let (file, prefix) = (store.path().join("gateway.db"), fresh_prefix());
        let own = format!(
            "store.url = \"sqlite:{}\"\nlimits.on_redis_failure = \"{on_redis_failure}\"\n[redis]\nurl = \"{redis_url}\"\nprefix = \"{prefix}\"",
            file.display()
        );
        let gateways = (0..size).map(|_| Gateway::stopped(upstream.address(), &own)).collect();
        Self { gateways, _upstream: upstream, store }
    }

    fn store_file(&self) -> PathBuf {
        self.store.path().join("gateway.db")
    }

    pub fn first(&self) -> &Gateway {
        &self.gateways[0]
    }

    /// As `limits show` has it; `None` when Redis had no time for it.
    pub fn used(&self, key: &Key) -> Option<u64> {
        let output = self.first().cli(&["limits", "show", &key.id, "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).ok()?["used"].as_u64()
    }
}

pub fn admitted(gateway: &Gateway, key: &Key, requests: usize) -> usize {
    let mut connection = gateway.connect();
    (0..requests).filter(|_| connection.ask(&Request::get("/").key(key)).status == 200).count()
}

/// Asks until `end`, each time in good time. Returns how often.
fn served_until(gateway: &Gateway, key: &Key, end: Instant) -> u64 {
    let mut connection = gateway.connect();
    let mut served = 0;
    while clock::monotonic() < end {
        let asked_at = clock::monotonic();
        assert_eq!(connection.ask(&Request::get("/").key(key)).status, 200);
        let waited = clock::monotonic() - asked_at;
        assert!(waited <= LONGEST_WAIT, "{waited:?}");
        served += 1;
    }
    served
}

#[test]
fn fewer_than_one_request_in_fifty_asks_redis_also_when_gateways_share_them() {
    let redis = Server::start();
    let fleet = Fleet::start(4, &redis, "local");
    let key = fleet.first().create_key(&["--rate-limit", "1000000"]);
    let before = redis.calls("eval");
    let served: usize = thread::scope(|scope| {
        let clients: Vec<_> = fleet.gateways.iter().map(|gateway| scope.spawn(|| admitted(gateway, &key, 1250))).collect();
        clients.into_iter().map(|client| client.join().expect("no client panics")).sum()
    });
    let asked = redis.calls("eval") - before;
    assert_eq!(served, 5000);
    assert!(asked * 50 < 5000, "{asked} questions");
}

#[test]
fn a_frozen_redis_delays_and_refuses_no_known_key_and_what_was_let_in_meanwhile_is_counted() {
    begin_within_an_hour();
    let redis = Server::start();
    let fleet = Fleet::start(2, &redis, "local");
    let (key, fresh) = (fleet.first().create_key(&["--rate-limit", "100000"]), fleet.first().create_key(&[]));
    let mut served = 0;
    for gateway in &fleet.gateways {
        served += served_until(gateway, &key, clock::monotonic() + Duration::from_millis(200));
    }
    redis.freeze();
    served += served_until(&fleet.gateways[1], &key, clock::monotonic() + Duration::from_secs(1));
    assert_eq!(fleet.gateways[1].metric("gateway_redis_up"), 0);
    assert_eq!(admitted(&fleet.gateways[1], &fresh, 1), 1, "the store is asked");
    redis.thaw();
    let thawed_at = clock::monotonic();
    eventually("Redis is asked again", || fleet.gateways[1].metric("gateway_redis_up") == 1);
    // Two seconds are promised; here other tests share the cores.
    assert!(clock::monotonic() - thawed_at < Duration::from_secs(4));
    eventually("all is told", || fleet.used(&key) == Some(served));
}

#[test]
fn a_redis_that_is_killed_and_comes_back_empty_is_told_again_what_was_counted() {
    begin_within_an_hour();
    let redis = Server::start();
    let fleet = Fleet::start(2, &redis, "local");
    let key = fleet.first().create_key(&["--rate-limit", "1000"]);
    assert_eq!(admitted(&fleet.gateways[0], &key, 300), 300);
    assert_eq!(admitted(&fleet.gateways[1], &key, 200), 200);
    eventually("all is told", || fleet.used(&key) == Some(500));
    redis.kill();
    redis.restart();
    eventually("it is told again", || redis.cli(&["ping"]) == "PONG" && fleet.used(&key) == Some(500));
    // What the other gateway holds comes back within a second.
    let rest = Cell::new(0);
    eventually("the rest is admitted", || {
        rest.set(rest.get() + admitted(&fleet.gateways[1], &key, 1000));
        rest.get() >= 500
    });
    assert_eq!(rest.get() + admitted(&fleet.gateways[1], &key, 100), 500);
}

#[test]
fn a_revocation_while_redis_is_frozen_holds_at_once_and_when_it_is_back() {
    let redis = Server::start();
    let fleet = Fleet::start(2, &redis, "local");
    let key = fleet.first().create_key(&[]);
    let status = |gateway: &Gateway| gateway.ask(&Request::get("/").key(&key)).status;
    assert!(fleet.gateways.iter().all(|gateway| status(gateway) == 200));
    redis.freeze();
    fleet.first().cli_json(&["keys", "revoke", &key.id, "--wait"]);
    assert!(fleet.gateways.iter().all(|gateway| status(gateway) == 401));
    redis.thaw();
    eventually("Redis is asked again", || fleet.gateways.iter().all(|gateway| gateway.metric("gateway_redis_up") == 1));
    assert!(fleet.gateways.iter().all(|gateway| status(gateway) == 401));
}

/// What is in Redis then is from before, and nobody was there to take it away.
#[test]
fn a_revocation_while_no_gateway_runs_holds_from_the_first_request_of_the_next() {
    let redis = Server::start();
    let mut fleet = Fleet::stopped(2, &redis.url(), "local");
    let [by_command, by_sql] = [(); 2].map(|()| fleet.first().create_key(&[]));
    fleet.gateways.iter_mut().for_each(Gateway::run);
    let in_redis = |key: &Key| {
        let hash = KeyHash::of(key.secret.as_bytes()).to_hex();
        let name = redis.cli(&["keys", &format!("*:key:{hash}")]);
        redis.cli(&["get", &name]).contains("\"is_active\":true")
    };
    eventually("Redis answers", || fleet.gateways.iter().all(|gateway| gateway.metric("gateway_redis_up") == 1));
    for key in [&by_command, &by_sql] {
        assert!(fleet.gateways.iter().all(|gateway| admitted(gateway, key, 1) == 1));
        eventually("the key is in Redis", || in_redis(key));
    }
    fleet.gateways.iter_mut().for_each(Gateway::kill);
    fleet.first().cli_json(&["keys", "revoke", &by_command.id]);
    let store = rusqlite::Connection::open(fleet.store_file()).expect("the store opens");
    store.execute("UPDATE api_keys SET is_active = FALSE WHERE key_id = ?1", [&by_sql.id]).expect("it can be changed");
    assert!(in_redis(&by_command) && in_redis(&by_sql), "as they were");
    fleet.gateways.iter_mut().for_each(Gateway::run);
    let begun_at = clock::monotonic();
    // Longer than it takes until a gateway trusts anything in Redis.
    while begun_at.elapsed() < Duration::from_secs(2) {
        for gateway in &fleet.gateways {
            assert_eq!(admitted(gateway, &by_command, 1) + admitted(gateway, &by_sql, 1), 0);
        }
    }
}
