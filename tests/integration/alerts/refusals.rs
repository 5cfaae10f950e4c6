//! What is told of bursts of refusals.

use serde_json::json;

use super::{keeps_secrets, refused_from, settings, the_one, told};
use crate::support::{Gateway, Request, Upstream, eventually};

/// What a burst is in these tests.
const MANY: &str = "alerts.refusals = 10\n";

#[test]
fn a_burst_of_bad_keys_from_one_address_is_told_once_and_a_few_of_another_are_not() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::start(app.address(), &(MANY.to_owned() + &settings(receiver.address())));
    for number in 0..30 {
        refused_from(&gateway, &format!("no-key-{number}"), "192.0.2.1");
    }
    (0..9).for_each(|_| refused_from(&gateway, "no-key", "192.0.2.2"));
    let alert = the_one(&receiver, "refusal_burst");
    let expected = json!({ "address": "192.0.2.1", "refusals": 10, "within_seconds": 60.0, "last_reason": "unknown" });
    assert_eq!(alert["details"], expected);
    // Told after all of that was looked at.
    (0..10).for_each(|_| refused_from(&gateway, "no-key", "192.0.2.3"));
    eventually("the next is told", || told(&receiver, "refusal_burst").len() == 2);
    assert_eq!(told(&receiver, "refusal_burst")[1]["details"]["address"], "192.0.2.3");
    assert!(!gateway.log().contains("no-key"), "what was presented is not logged");
}

#[test]
fn a_burst_of_refusals_of_one_key_is_told_of_the_key_whatever_its_addresses() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::start(app.address(), &(MANY.to_owned() + &settings(receiver.address())));
    let key = gateway.create_key(&["--allowed-ip", "192.0.2.1"]);
    for number in 1..=10 {
        let request = Request::get("/").key(&key).header("X-Forwarded-For", &format!("198.51.100.{number}"));
        assert_eq!(gateway.ask(&request).status, 403);
    }
    let alert = the_one(&receiver, "refusal_burst");
    assert_eq!((&alert["details"]["key_id"], &alert["details"]["refusals"]), (&json!(key.id), &json!(10)));
    keeps_secrets(&gateway, &receiver, &key);
}
