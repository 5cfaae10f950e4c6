//! The life of a key, as a script follows it.

use serde_json::{Value, json};

use crate::place::{Place, Ran};

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap()
}

const SETTINGS: [&str; 11] = [
    "key_id",
    "key_prefix",
    "user_id",
    "name",
    "environment",
    "created_at",
    "expires_at",
    "rate_limit_per_hour",
    "allowed_ips",
    "scopes",
    "is_active",
];

fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names
}

#[test]
fn a_new_key_is_answered_with_the_published_fields() {
    let place = Place::new();
    let key = place.create(&["--environment", "test", "--allowed-ip", "10.1.2.3/8", "--allowed-ip", "::1", "--scope", "read"]);
    assert_eq!(sorted(names(&key)), sorted(["key"].into_iter().chain(SETTINGS)));
    assert!(text(&key, "key").starts_with(text(&key, "key_prefix")));
    assert!(text(&key, "key").starts_with("hk_test_"));
    assert!(text(&key, "created_at").ends_with("+00:00"));
    assert_eq!(key["expires_at"], Value::Null);
    assert_eq!(key["rate_limit_per_hour"], 1000);
    assert_eq!((&key["allowed_ips"], &key["scopes"]), (&json!(["10.0.0.0/8", "::1"]), &json!(["read"])));
    assert_eq!((&key["user_id"], &key["name"], &key["is_active"]), (&json!("ann"), &json!("ci"), &json!(true)));
}

#[test]
fn a_key_is_shown_and_listed_without_its_secret_and_with_its_last_use() {
    let place = Place::new();
    let key = place.create(&[]);
    let shown = place.answer(&["keys", "show", text(&key, "key_id")]);
    assert_eq!(sorted(names(&shown)), sorted(["last_used_at"].into_iter().chain(SETTINGS)));
    assert_eq!(shown["last_used_at"], Value::Null);
    assert_eq!(place.answer(&["keys", "list"]), json!([shown]));
}

#[test]
fn a_list_holds_what_was_asked_for() {
    let place = Place::new();
    let ids = |args: &[&str]| -> Vec<String> {
        let list = place.answer(&[&["keys", "list"], args].concat());
        list.as_array().unwrap().iter().map(|key| text(key, "key_id").to_owned()).collect()
    };
    assert!(ids(&[]).is_empty());
    let ann = text(&place.create(&[]), "key_id").to_owned();
    let bob = text(&place.create_for("bob", "ci", &[]), "key_id").to_owned();
    let old = text(&place.create(&["--expires-in", "1h"]), "key_id").to_owned();
    let ancient =
        "UPDATE api_keys SET created_at = '2001-01-01 00:00:00.000', expires_at = '2001-02-01 00:00:00.000' WHERE key_id = ?1";
    place.database().execute(ancient, [&old]).unwrap();

    assert_eq!(ids(&[]), [&*old, &ann, &bob]);
    assert_eq!(ids(&["--user", "ann"]), [&*old, &ann]);
    assert_eq!(ids(&["--active"]), [&*ann, &bob]);
    assert_eq!(ids(&["--older-than", "90d"]), [&*old]);
    place.answer(&["keys", "update", &ann, "--disable"]);
    assert_eq!(ids(&["--active"]), [&*bob]);
}

#[test]
fn an_update_changes_what_is_named_and_nothing_else() {
    let place = Place::new();
    let key = place.create(&["--scope", "read", "--expires-in", "1h"]);
    let update = |args: &[&str]| place.answer(&[&["keys", "update", text(&key, "key_id")], args].concat());

    let renamed = update(&["--name", "nightly"]);
    assert_eq!(renamed["name"], "nightly");
    for name in SETTINGS.iter().filter(|name| **name != "name") {
        assert_eq!(renamed[name], key[name], "{name}");
    }
    let all = update(&[
        "--user",
        "bob",
        "--rate-limit",
        "none",
        "--no-expiry",
        "--allowed-ip",
        "10.0.0.1",
        "--scope",
        "write",
        "--disable",
    ]);
    assert_eq!((&all["user_id"], &all["rate_limit_per_hour"], &all["expires_at"]), (&json!("bob"), &Value::Null, &Value::Null));
    assert_eq!(
        (&all["allowed_ips"], &all["scopes"], &all["is_active"]),
        (&json!(["10.0.0.1"]), &json!(["write"]), &json!(false))
    );
    let back = update(&["--any-ip", "--no-scopes", "--enable", "--rate-limit", "7", "--expires-at", "2100-01-01T01:00:00+01:00"]);
    assert_eq!((&back["allowed_ips"], &back["scopes"], &back["is_active"]), (&json!([]), &json!([]), &json!(true)));
    assert_eq!((&back["rate_limit_per_hour"], text(&back, "expires_at")), (&json!(7), "2100-01-01T00:00:00.000+00:00"));
}

#[test]
fn a_rotation_keeps_the_key_and_says_how_long_the_secret_before_works() {
    let place = Place::new();
    let key = place.create(&[]);
    let id = text(&key, "key_id");
    let rotated = place.answer(&["keys", "rotate", id]);
    assert_eq!(sorted(names(&rotated)), sorted(["key", "previous_valid_until"].into_iter().chain(SETTINGS)));
    assert_eq!((&rotated["key_id"], &rotated["created_at"]), (&key["key_id"], &key["created_at"]));
    assert_ne!(rotated["key"], key["key"]);
    assert!(text(&rotated, "previous_valid_until") > text(&key, "created_at"));
    let at_once = place.answer(&["keys", "rotate", id, "--grace", "0s"]);
    assert_eq!(at_once["previous_valid_until"], Value::Null);
}

#[test]
fn a_revoked_key_is_revoked_for_good() {
    let place = Place::new();
    let key = place.create(&[]);
    let id = text(&key, "key_id");
    let revoked = place.answer(&["keys", "revoke", id]);
    assert_eq!((&revoked["key_id"], &revoked["is_active"]), (&key["key_id"], &json!(false)));
    place.run(&["keys", "update", id, "--enable"]).refused(1, &["revoked"]);
    place.run(&["keys", "rotate", id]).refused(1, &["revoked"]);
    assert_eq!(place.answer(&["keys", "show", id])["is_active"], false);
}

/// Without this, a script that waited would believe a revocation complete while a gateway still serves the key.
#[test]
fn a_waiting_revocation_ends_when_each_live_gateway_has_confirmed() {
    let place = Place::new();
    let key = place.create(&[]);
    let database = place.database();
    database.execute_batch("INSERT INTO api_gateways (gateway_id, seen_version) VALUES ('alive', 0), ('ends', 0)").unwrap();
    database.execute_batch("INSERT INTO api_gateways VALUES ('long gone', 0, '2026-01-01 00:00:00.000')").unwrap();

    let waiting = place.start(&["keys", "revoke", text(&key, "key_id"), "--wait", "--json"]);
    let is_revoked = "SELECT revoked_at IS NOT NULL FROM api_keys";
    while !database.query_row(is_revoked, [], |row| row.get::<_, bool>(0)).unwrap() {
        std::thread::yield_now();
    }
    database.execute_batch("DELETE FROM api_gateways WHERE gateway_id = 'ends'").unwrap();
    let confirm = "UPDATE api_gateways SET seen_version = (SELECT max(version) FROM api_key_changes) WHERE gateway_id = 'alive'";
    database.execute_batch(confirm).unwrap();
    let answer = Ran::of(waiting.wait_with_output().unwrap()).answer();
    assert_eq!((&answer["confirmed_by"], &answer["not_confirmed_by"]), (&json!(["alive"]), &json!([])));
}

#[test]
fn a_waiting_revocation_names_the_gateway_that_fell_silent() {
    let place = Place::new();
    let key = place.create(&[]);
    place.database().execute_batch("INSERT INTO api_gateways (gateway_id, seen_version) VALUES ('frozen', 0)").unwrap();
    let ran = place.run(&["keys", "revoke", text(&key, "key_id"), "--wait", "--json"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("frozen"), "{}", ran.stderr);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&answer["is_active"], &answer["not_confirmed_by"]), (&json!(false), &json!(["frozen"])));
}

#[test]
fn the_user_of_the_environment_is_the_default_one() {
    let place = Place::new();
    place.create_for("bob", "ci", &[]);
    let with_ann = |args: &[&str]| Ran::of(place.command(args).env("HOKUSAI_USER_ID", "ann").output().unwrap()).answer();
    assert_eq!(with_ann(&["keys", "create", "--name", "ci", "--json"])["user_id"], "ann");
    assert_eq!(with_ann(&["keys", "list", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(with_ann(&["keys", "list", "--user", "", "--json"]).as_array().unwrap().len(), 2);
}

#[test]
fn the_default_limit_of_new_keys_is_the_configured_one() {
    let place = Place::new();
    let ran =
        place.command(&["keys", "create", "--user", "ann", "--name", "ci", "--json"]).env("DEFAULT_RATE_LIMIT", "7").output();
    assert_eq!(Ran::of(ran.unwrap()).answer()["rate_limit_per_hour"], 7);
}

/// Whatever else is said, the key stands on stdout once: nobody finds it later in a log or in the store.
#[test]
fn a_key_is_printed_once_and_nowhere_else() {
    let place = Place::new();
    let log = place.path().join("cli.log");
    let ran = place.run(&["keys", "create", "--user", "ann", "--name", "ci", "--log-file", "cli.log"]);
    let key = ran.stdout.lines().next().unwrap();
    assert_eq!(key.len(), "hk_live_".len() + 40);
    let occurrences = |text: &str| text.matches(&key["hk_live_abc".len()..]).count();
    assert_eq!((occurrences(&ran.stdout), ran.stderr.as_str()), (1, ""));
    let logged = std::fs::read_to_string(log).unwrap();
    assert!(logged.contains("key created") && logged.contains("key_id=key_"), "{logged}");
    for file in std::fs::read_dir(place.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert_eq!(occurrences(&String::from_utf8_lossy(&bytes)), 0);
    }
}

#[test]
fn a_row_that_cannot_be_read_hides_no_other_and_is_an_error() {
    let place = Place::new();
    let broken = place.create_for("ann", "broken", &[]);
    place.create_for("ann", "sound", &[]);
    let id = text(&broken, "key_id");
    place.database().execute("UPDATE api_keys SET allowed_ips = '[\"10.0.0\"]' WHERE key_id = ?1", [id]).unwrap();
    let ran = place.run(&["keys", "list", "--json"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains(id), "{}", ran.stderr);
    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("sound")));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = Place::new();
    place.create(&[]);
    let mut listing = place.start(&["keys", "list"]);
    drop(listing.stdout.take());
    let ran = Ran::of(listing.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}
