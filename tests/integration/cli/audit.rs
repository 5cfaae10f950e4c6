//! Who changed which key.

use serde_json::{Value, json};

use crate::place::Place;

fn actions(place: &Place, options: &[&str]) -> Vec<String> {
    let listed = place.answer(&[&["audit", "list"], options].concat());
    listed.as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_command_changes_is_listed_with_who_typed_it_and_on_which_machine() {
    let place = Place::new();
    let key = place.create(&["--rate-limit", "10"]);
    let id = key["key_id"].as_str().unwrap();
    place.answer(&["keys", "update", id, "--rate-limit", "20", "--name", "b"]);
    let mut revoke = place.command(&["keys", "revoke", id]);
    assert!(revoke.env("SUDO_USER", "ann").output().unwrap().status.success());
    place.create_for("bob", "other", &[]);

    let listed = place.answer(&["audit", "list", "--key", id]);
    let told = |event: &Value| (event["action"].clone(), event["via"].clone(), event["position"].clone());
    let expected = [("revoked", 3), ("updated", 2), ("created", 1)];
    let expected = expected.map(|(action, position)| (json!(action), json!("command"), json!(position)));
    assert_eq!(listed.as_array().unwrap().iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(listed[1]["before"], json!({"name": "ci", "rate_limit_per_hour": 10}));
    assert_eq!(listed[1]["after"], json!({"name": "b", "rate_limit_per_hour": 20}));
    assert!(listed[0]["actor"].as_str().unwrap().starts_with("ann as "), "{listed}");
    assert!(!listed[1]["actor"].as_str().unwrap().contains("ann"), "{listed}");
    assert!(listed[0]["origin"].as_str().is_some_and(|host| !host.is_empty()), "{listed}");
    let secret = key["key"].as_str().unwrap();
    assert!(!listed.to_string().contains(secret), "no secret is among it");

    let table = place.run(&["audit", "list"]).stdout;
    let line = table.lines().find(|line| line.contains("updated")).unwrap();
    assert!(line.contains(r#"name "ci" → "b", rate_limit_per_hour 10 → 20"#), "{line}");
    assert_eq!(actions(&place, &["--action", "created", "--limit", "1"]), ["created"]);
    assert_eq!(actions(&place, &["--since", "2126-01-01T00:00:00Z"]), [""; 0]);
}

#[test]
fn every_command_that_changes_keys_is_noted() {
    let place = Place::new();
    let id = place.create(&[])["key_id"].as_str().unwrap().to_owned();
    place.answer(&["keys", "rotate", &id]);
    place.answer(&["keys", "update", &id, "--disable"]);
    place.answer(&["keys", "update", &id, "--enable"]);
    place.answer(&["limits", "reset", &id]);
    place.database().execute("UPDATE api_keys SET expires_at = '2026-01-01 00:00:00.000'", []).unwrap();
    place.answer(&["cleanup"]);
    let mut listed = actions(&place, &[]);
    listed.sort();
    let expected = ["created", "disabled", "disabled", "enabled", "limit_reset", "rotated", "secret_added", "updated"];
    assert_eq!(listed, expected);
    let verdict = place.answer(&["audit", "verify"]);
    assert_eq!((&verdict["is_whole"], &verdict["sealed"], &verdict["waiting"]), (&json!(true), &json!(8), &json!(0)));
}

#[test]
fn a_chain_that_is_not_whole_is_told_and_fails() {
    let place = Place::new();
    place.create(&[]);
    let head = place.answer(&["audit", "verify"])["head"].as_str().unwrap().to_owned();
    place.create(&[]);
    let verdict = place.answer(&["audit", "verify", "--head", &head]);
    assert_eq!((&verdict["is_whole"], &verdict["sealed"]), (&json!(true), &json!(2)));

    let tamper = "DROP TRIGGER api_key_events_are_not_changed; UPDATE api_key_events SET actor = 'mallory' WHERE event_id = 1";
    place.database().execute_batch(tamper).unwrap();
    let ran = place.run(&["audit", "verify", "--json"]);
    let verdict: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &verdict["is_whole"]), (1, &json!(false)));
    assert_eq!(verdict["breaks"], json!(["event 1 at position 1 was changed, or its hash was"]));
    assert!(ran.stderr.contains("not whole"), "{}", ran.stderr);

    let other = format!("1:{}", "0".repeat(64));
    let ran = place.run(&["audit", "verify", "--head", &other]);
    assert!(ran.code == 1 && ran.stdout.contains("does not hold 1:0000"), "{}", ran.stdout);
    place.run(&["audit", "verify", "--head", "12"]).refused(2, &["POSITION:HASH", "audit verify"]);
}
