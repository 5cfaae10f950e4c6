//! A change to a key reaches a running gateway by itself, whoever made it and however.

use std::time::Duration;

use hokusai_gateway::clock;

use crate::support::{Gateway, Key, Request, Upstream, eventually};

/// The promise is half a second; the rest is for a machine that runs many tests at once.
const SOON: Duration = Duration::from_secs(2);

/// A gateway that holds a key in its memory, and the key.
fn warm(upstream: &Upstream, options: &[&str]) -> (Gateway, Key) {
    let gateway = Gateway::start(upstream.address(), "keys.cache_ttl = \"1h\"");
    let key = gateway.create_key(options);
    assert_eq!(status(&gateway, &key), 200);
    (gateway, key)
}

fn status(gateway: &Gateway, key: &Key) -> u16 {
    gateway.ask(&Request::get("/").key(key)).status
}

#[track_caller]
fn soon(gateway: &Gateway, key: &Key, expected: u16) {
    let changed = clock::monotonic();
    eventually("the change is seen", || status(gateway, key) == expected);
    let took = changed.elapsed();
    assert!(took < SOON, "it took {took:?}");
}

fn sql(gateway: &Gateway, change: &str, key: &Key) {
    assert_eq!(gateway.database().execute(change, [&key.id]).expect("plain SQL works"), 1, "{change}");
}

#[track_caller]
fn command(gateway: &Gateway, arguments: &[&str]) {
    let output = gateway.cli(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_disabled_key_is_out_and_an_enabled_one_in() {
    let upstream = Upstream::ok();
    let (gateway, key) = warm(&upstream, &[]);
    command(&gateway, &["keys", "update", &key.id, "--disable"]);
    soon(&gateway, &key, 401);
    command(&gateway, &["keys", "update", &key.id, "--enable"]);
    soon(&gateway, &key, 200);
}

#[test]
fn a_revoked_key_is_out_for_good_with_all_its_secrets() {
    let upstream = Upstream::ok();
    let (gateway, old) = warm(&upstream, &[]);
    let rotated = gateway.cli_json(&["keys", "rotate", &old.id]);
    let new = Key { secret: rotated["key"].as_str().expect("a text").to_owned(), id: old.id.clone() };
    assert_eq!((status(&gateway, &old), status(&gateway, &new)), (200, 200));
    command(&gateway, &["keys", "revoke", &old.id]);
    soon(&gateway, &old, 401);
    soon(&gateway, &new, 401);
    assert!(!gateway.cli(&["keys", "update", &old.id, "--enable"]).status.success());
    assert_eq!((status(&gateway, &old), status(&gateway, &new)), (401, 401));
}

/// When the command returns, no gateway lets the key in any more: not one request later.
#[test]
fn a_revocation_that_waited_is_already_true() {
    let upstream = Upstream::ok();
    let (gateway, key) = warm(&upstream, &[]);
    command(&gateway, &["keys", "revoke", &key.id, "--wait"]);
    assert_eq!(status(&gateway, &key), 401);
}

#[test]
fn an_old_secret_lives_as_long_as_its_grace() {
    let upstream = Upstream::ok();
    let (gateway, old) = warm(&upstream, &[]);
    let rotated = gateway.cli_json(&["keys", "rotate", &old.id, "--grace", "1s"]);
    let new = Key { secret: rotated["key"].as_str().expect("a text").to_owned(), id: old.id.clone() };
    assert_eq!(status(&gateway, &new), 200);
    eventually("the grace ends", || status(&gateway, &old) == 401);
    command(&gateway, &["keys", "rotate", &old.id, "--grace", "0s"]);
    soon(&gateway, &new, 401);
}

#[test]
fn a_key_ends_at_the_instant_it_expires() {
    let upstream = Upstream::ok();
    let (gateway, key) = warm(&upstream, &["--expires-in", "3s"]);
    let end = gateway.cli_json(&["keys", "show", &key.id])["expires_at"].as_str().map(str::to_owned);
    let end = end.and_then(|end| hokusai_gateway::model::timestamp::Timestamp::parse(&end)).expect("a time");
    eventually("the key ends", || {
        let before = clock::now();
        let refused = status(&gateway, &key) == 401;
        let after = clock::now();
        assert!(!refused || after >= end, "refused before its end");
        assert!(refused || before < end, "let in after its end");
        refused
    });
}

#[test]
fn plain_sql_counts_like_a_command() {
    let upstream = Upstream::ok();
    let (gateway, key) = warm(&upstream, &[]);
    for (change, expected) in [
        ("UPDATE api_keys SET is_active = FALSE WHERE key_id = ?1", 401),
        ("UPDATE api_keys SET is_active = TRUE WHERE key_id = ?1", 200),
        ("UPDATE api_keys SET expires_at = datetime('now', '-1 minute') WHERE key_id = ?1", 401),
        ("UPDATE api_keys SET expires_at = datetime('now', '+1 day') WHERE key_id = ?1", 200),
        ("UPDATE api_keys SET allowed_ips = '[\"203.0.113.0/24\"]' WHERE key_id = ?1", 403),
        ("UPDATE api_keys SET allowed_ips = NULL WHERE key_id = ?1", 200),
        ("DELETE FROM api_keys WHERE key_id = ?1", 401),
    ] {
        sql(&gateway, change, &key);
        soon(&gateway, &key, expected);
    }
}

/// The gateway remembers for a while that a key is unknown; the key's creation must end that.
#[test]
fn a_key_that_was_unknown_a_moment_ago_is_let_in() {
    let upstream = Upstream::ok();
    let (gateway, _) = warm(&upstream, &[]);
    let imported = Key { secret: "a-key-from-an-earlier-system".to_owned(), id: "imported".to_owned() };
    assert_eq!(status(&gateway, &imported), 401);
    let hash = hokusai_gateway::model::key_hash::KeyHash::of(imported.secret.as_bytes()).to_hex();
    let insert = "INSERT INTO api_keys (key_id, key_hash, key_prefix, user_id, name) VALUES (?1, ?2, 'a-key', 'ada', 'old')";
    gateway.database().execute(insert, [&imported.id, &hash]).expect("plain SQL works");
    soon(&gateway, &imported, 200);
}

#[test]
fn a_changed_name_reaches_the_upstream() {
    let upstream = Upstream::ok();
    let (gateway, key) = warm(&upstream, &[]);
    sql(&gateway, "UPDATE api_keys SET user_id = 'grace' WHERE key_id = ?1", &key);
    eventually("the upstream is told the new name", || {
        status(&gateway, &key);
        upstream.requests().last().and_then(|seen| seen.headers.get("x-user-id")) == Some("grace")
    });
}

#[test]
fn a_change_made_while_the_gateway_was_down_is_seen() {
    let upstream = Upstream::ok();
    let (mut gateway, key) = warm(&upstream, &[]);
    gateway.kill();
    sql(&gateway, "UPDATE api_keys SET is_active = FALSE WHERE key_id = ?1", &key);
    gateway.run();
    assert_eq!(status(&gateway, &key), 401);
}
