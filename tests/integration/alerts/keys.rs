//! What is told of keys: an old secret, a new network, a limit that is near, use after the end; and nothing of a key that is well.

use serde_json::json;

use super::{ask_from, keeps_secrets, noted, refused_from, settings, the_one, told};
use crate::support::{Gateway, Request, Upstream, begin_within_an_hour, eventually};

#[test]
fn a_key_with_an_old_secret_is_told_and_not_one_that_was_rotated() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let mut gateway = Gateway::stopped(app.address(), &settings(receiver.address()));
    let (old, rotated) = (gateway.create_key(&[]), gateway.create_key(&[]));
    let long_ago = "UPDATE api_keys SET created_at = '2024-01-01 00:00:00.000', rotated_at = NULL";
    gateway.database().execute(long_ago, []).expect("the keys are there");
    gateway.cli_json(&["keys", "rotate", &rotated.id]);
    gateway.run();
    assert_eq!(the_one(&receiver, "secret_old")["details"]["key_id"], json!(old.id));
}

#[test]
fn a_key_used_from_a_new_network_is_told_once_and_not_again_after_a_restart() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let mut gateway = Gateway::start(app.address(), &settings(receiver.address()));
    let key = gateway.create_key(&[]);
    let written = |gateway: &Gateway, rows| {
        eventually("it is written", || gateway.metric("gateway_usage_written_total") == rows);
    };
    ask_from(&gateway, &key, "192.0.2.1");
    ask_from(&gateway, &key, "192.0.2.200");
    written(&gateway, 2);
    noted(&gateway, 1);
    gateway.kill();
    gateway.run();
    ask_from(&gateway, &key, "192.0.2.7");
    ask_from(&gateway, &key, "2001:db8:1::1");
    ask_from(&gateway, &key, "2001:db8:1:2::1");
    let alert = the_one(&receiver, "new_network");
    assert_eq!((&alert["details"]["key_id"], &alert["details"]["network"]), (&json!(key.id), &json!("2001:db8:1::/48")));
    written(&gateway, 3);
    gateway.kill();
    gateway.run();
    ask_from(&gateway, &key, "2001:db8:1::1");
    ask_from(&gateway, &key, "198.51.100.1");
    eventually("the next is told", || told(&receiver, "new_network").len() == 2);
    assert_eq!(told(&receiver, "new_network")[1]["details"]["network"], "198.51.100.0/24");
    keeps_secrets(&gateway, &receiver, &key);
}

#[test]
fn a_key_near_its_limit_is_told_once_and_one_that_is_not_near_is_not() {
    begin_within_an_hour();
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::start(app.address(), &settings(receiver.address()));
    let (near, far) = (gateway.create_key(&["--rate-limit", "10"]), gateway.create_key(&["--rate-limit", "10"]));
    for _ in 0..8 {
        ask_from(&gateway, &far, "192.0.2.1");
        ask_from(&gateway, &near, "192.0.2.1");
    }
    ask_from(&gateway, &near, "192.0.2.1");
    let alert = the_one(&receiver, "near_limit");
    assert_eq!(alert["details"], json!({ "key_id": near.id, "used": 9, "limit": 10 }));
    ask_from(&gateway, &near, "192.0.2.1");
    gateway.reload();
    assert_eq!(told(&receiver, "near_limit").len(), 1);
}

#[test]
fn a_key_that_is_used_after_its_end_is_told_with_what_ended_it_and_never_shown() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::start(app.address(), &settings(receiver.address()));
    let (revoked, expired) = (gateway.create_key(&[]), gateway.create_key(&[]));
    gateway.cli_json(&["keys", "revoke", &revoked.id, "--wait"]);
    let long_ago = "UPDATE api_keys SET expires_at = '2024-01-01 00:00:00.000' WHERE key_id = ?1";
    gateway.database().execute(long_ago, [&expired.id]).expect("the key is there");
    eventually("it has ended", || gateway.ask(&Request::get("/").key(&expired)).status == 401);
    (0..3).for_each(|_| refused_from(&gateway, &revoked.secret, "192.0.2.1"));
    eventually("both are told", || told(&receiver, "ended_key_used").len() == 2);
    let told = told(&receiver, "ended_key_used");
    let mut reasons: Vec<_> = told.iter().map(|alert| (&alert["details"]["key_id"], &alert["details"]["reason"])).collect();
    reasons.sort_by_key(|(_, reason)| reason.to_string());
    assert_eq!(reasons, [(&json!(expired.id), &json!("expired")), (&json!(revoked.id), &json!("revoked"))]);
    keeps_secrets(&gateway, &receiver, &revoked);
    keeps_secrets(&gateway, &receiver, &expired);
}

#[test]
fn where_nothing_is_wrong_nothing_is_told() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::start(app.address(), &settings(receiver.address()));
    let key = gateway.create_key(&["--expires-in", "30d"]);
    for _ in 0..20 {
        ask_from(&gateway, &key, "192.0.2.1");
    }
    eventually("all is written", || gateway.metric("gateway_usage_written_total") == 20);
    // The other key's alert comes after whatever there was to tell of the first.
    let other = gateway.create_key(&[]);
    ask_from(&gateway, &other, "192.0.2.1");
    eventually("it is written", || gateway.metric("gateway_usage_written_total") == 21);
    noted(&gateway, 2);
    ask_from(&gateway, &other, "198.51.100.1");
    assert_eq!(the_one(&receiver, "new_network")["details"]["key_id"], json!(other.id));
    assert_eq!(receiver.requests().len(), 1);
}
