//! Keys brought from elsewhere let their requests in, as far as they may.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hokusai_gateway::model::key_hash::KeyHash;
use serde_json::{Value, json};

use crate::redis::Fleet;
use crate::support::postgres::SHARED;
use crate::support::redis::Server;
use crate::support::{Gateway, Key, Request, Upstream, eventually};

/// All begin alike.
const PREFIX: &str = "hk_live_abc";
const VERIFIED: &str = "gateway_key_lookups_total{layer=\"bcrypt\",result=\"hit\"}";
const FOUND_NO_PLACE: &str = "gateway_key_lookups_total{layer=\"bcrypt\",result=\"error\"}";
const AWAITING: &str = "gateway_keys_awaiting_first_use";

/// A key of earlier Hokusai tables: our form without a checksum.
fn earlier(name: &str) -> Key {
    let rest = "Q".repeat(37 - name.len());
    Key { secret: format!("{PREFIX}{name}{rest}"), id: format!("key-{name}") }
}

/// As a row of earlier tables. `cost` is how slow it is to verify.
fn by_bcrypt(key: &Key, cost: u32) -> Value {
    let hash = bcrypt::hash(&key.secret, cost).expect("a cost that there is");
    json!({"key_id": key.id, "key_hash": hash, "key_prefix": PREFIX})
}

fn import(gateway: &Gateway, rows: &[Value]) -> Value {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(gateway.folder().join("keys.jsonl"), lines.join("\n")).expect("the folder can be written to");
    gateway.cli_json(&["keys", "import", "keys.jsonl", "--user", "ada"])
}

fn status(gateway: &Gateway, key: &Key) -> u16 {
    gateway.ask(&Request::get("/").key(key)).status
}

#[test]
fn a_key_is_let_in_by_its_text_its_sha_256_or_its_bcrypt_hash() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let [plain, hashed, awaiting] = ["plain", "hashed", "awaiting"].map(earlier);
    assert_eq!(status(&gateway, &awaiting), 401);
    let told = import(
        &gateway,
        &[
            json!({"key_id": plain.id, "key": plain.secret}),
            json!({"key_id": hashed.id, "key_hash": KeyHash::of(hashed.secret.as_bytes()).to_hex()}),
            by_bcrypt(&awaiting, 6),
        ],
    );
    assert_eq!((&told["imported"], &told["awaiting_first_use"]), (&json!(3), &json!(1)));
    let shown = |key: &Key| gateway.cli_json(&["keys", "show", &key.id])["awaits_first_use"].clone();
    assert_eq!([&plain, &hashed, &awaiting].map(shown), [Value::Null, Value::Null, json!(true)]);
    eventually("all are heard of", || gateway.metric(AWAITING) == 1);
    for key in [&plain, &hashed, &awaiting, &awaiting, &awaiting] {
        assert_eq!(status(&gateway, key), 200, "{}", key.id);
    }
    assert_eq!(status(&gateway, &earlier("made-up")), 401);
    assert_eq!(gateway.metric(VERIFIED), 1, "its first use alone");
    assert_eq!(shown(&awaiting), Value::Null);
    let sql = "SELECT key_hash FROM api_keys WHERE key_id = ?1";
    let stored: String = gateway.database().query_row(sql, [&awaiting.id], |row| row.get(0)).expect("it is there");
    assert_eq!(stored, KeyHash::of(awaiting.secret.as_bytes()).to_hex());
    eventually("none awaits its first use", || gateway.metric(AWAITING) == 0);
}

#[test]
fn a_key_that_had_ended_before_is_refused_and_one_that_ends_after_its_first_use_too() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let [disabled, expired, revoked, ends] = ["disabled", "expired", "revoked", "ends"].map(earlier);
    let with = |key: &Key, field: &str, value: Value| {
        let mut row = by_bcrypt(key, 4);
        row[field] = value;
        row
    };
    let rows = [
        with(&disabled, "is_active", json!(false)),
        with(&expired, "expires_at", json!("2026-01-01 00:00:00+00")),
        with(&revoked, "revoked_at", json!("2026-01-01")),
        by_bcrypt(&ends, 4),
    ];
    import(&gateway, &rows);
    eventually("it is let in", || status(&gateway, &ends) == 200);
    for key in [&disabled, &expired, &revoked] {
        assert_eq!(status(&gateway, key), 401, "{}", key.id);
    }
    gateway.cli_json(&["keys", "revoke", &ends.id, "--wait"]);
    assert_eq!(status(&gateway, &ends), 401);
    assert_eq!(import(&gateway, &rows)["already_there"], 4);
    assert_eq!(status(&gateway, &ends), 401, "an import brings nothing back");
}

#[test]
fn gateways_on_one_database_that_see_a_first_use_at_once_all_let_it_in() {
    let (database, upstream) = (SHARED.database(), Upstream::ok());
    let settings = format!("store.url = \"{}\"", database.url());
    let mut gateways = [(); 2].map(|()| Gateway::stopped(upstream.address(), &settings));
    gateways[0].cli_json(&["migrate", "up"]);
    gateways.iter_mut().for_each(Gateway::run);
    let keys: Vec<Key> = (0..8).map(|number| earlier(&format!("k{number}"))).collect();
    let rows: Vec<Value> = keys.iter().map(|key| by_bcrypt(key, 6)).collect();
    import(&gateways[0], &rows);
    eventually("all are heard of", || gateways.iter().all(|gateway| gateway.metric(AWAITING) == 8));
    for key in &keys {
        let statuses: Vec<u16> = thread::scope(|scope| {
            let asking = [0, 1, 0, 1].map(|number: usize| (&gateways[number], key));
            let clients = asking.map(|(gateway, key)| scope.spawn(move || status(gateway, key)));
            clients.into_iter().map(|client| client.join().expect("it is answered")).collect()
        });
        assert_eq!(statuses, [200; 4], "{}", key.id);
    }
    assert_eq!(database.sql("SELECT count(*) FROM api_keys WHERE key_hash ~ '^[0-9a-f]{64}$'"), "8");
    eventually("none awaits its first use", || gateways.iter().all(|gateway| gateway.metric(AWAITING) == 0));
}

#[test]
fn a_key_that_one_gateway_has_verified_another_finds_in_redis_or_the_store() {
    let redis = Server::start();
    let mut fleet = Fleet::stopped(2, &redis.url(), "local");
    fleet.gateways.iter_mut().for_each(Gateway::run);
    let key = earlier("shared");
    import(fleet.first(), &[by_bcrypt(&key, 6)]);
    for gateway in &fleet.gateways {
        eventually("it is let in", || status(gateway, &key) == 200);
    }
    let verified: u64 = fleet.gateways.iter().map(|gateway| gateway.metric(VERIFIED)).sum();
    assert_eq!(verified, 1);
    fleet.first().cli_json(&["keys", "revoke", &key.id, "--wait"]);
    assert!(fleet.gateways.iter().all(|gateway| status(gateway, &key) == 401));
}

/// Each would have to be verified: nobody else may wait for that, and nobody be told wrongly that a key does not exist.
#[test]
fn a_flood_of_made_up_keys_that_begin_like_one_refuses_no_known_key() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let (known, awaiting) = (gateway.create_key(&["--rate-limit", "none"]), earlier("awaiting"));
    import(&gateway, &[by_bcrypt(&awaiting, 10)]);
    eventually("it is heard of", || gateway.metric(AWAITING) == 1);
    let is_over = AtomicBool::new(false);
    let made_up: Vec<u16> = thread::scope(|scope| {
        let (gateway, is_over) = (&gateway, &is_over);
        let flood = |client: usize| {
            let mut connection = gateway.connect();
            let mut statuses = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let key = earlier(&format!("{client}x{}", statuses.len()));
                statuses.push(connection.ask(&Request::get("/").key(&key)).status);
            }
            statuses
        };
        let clients: Vec<_> = (0..48).map(|client| scope.spawn(move || flood(client))).collect();
        let mut connection = gateway.connect();
        while gateway.metric(FOUND_NO_PLACE) == 0 {
            assert_eq!(connection.ask(&Request::get("/").key(&known)).status, 200);
        }
        let served = (0..500).filter(|_| connection.ask(&Request::get("/").key(&known)).status == 200).count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(served, 500);
        clients.into_iter().flat_map(|client| client.join().expect("each request is answered")).collect()
    });
    assert!(made_up.contains(&503) && made_up.iter().all(|status| [401, 503].contains(status)), "{made_up:?}");
    eventually("a real one finds a place", || status(&gateway, &awaiting) == 200);
}
