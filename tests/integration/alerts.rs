//! Somebody is told of what goes wrong, once, in words that can be trusted; and of nothing where nothing is wrong.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hokusai_gateway::clock;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::front;
use crate::support::postgres::SHARED;
use crate::support::redis::{Server as Redis, fresh_prefix};
use crate::support::tcp_proxy::TcpProxy;
use crate::support::tls::Authority;
use crate::support::upstream::Seen;
use crate::support::{Gateway, Key, Request, Upstream, begin_within_an_hour, eventually};

/// Of the webhook: 32 bytes.
const SECRET: &str = "bm90IGEgc2VjcmV0LCBtYWtlIHlvdXIgb3duIG9uZSE=";

/// Told to a receiver, and soon.
fn settings(receiver: SocketAddr) -> String {
    format!(
        "client_ip.trusted_proxies = [\"127.0.0.1\"]\n\
         alerts.look_every = \"50ms\"\nalerts.outage_after = \"300ms\"\nalerts.learn_networks = \"0s\"\n\
         [[alerts.webhooks]]\nurl = \"http://{receiver}/hooks/of-mine\"\nsecret = \"whsec_{SECRET}\"\n"
    )
}

fn body(message: &Seen) -> Value {
    serde_json::from_slice(&message.body).expect("a webhook gets JSON")
}

/// What came of this kind, whole.
fn told(receiver: &Upstream, kind: &str) -> Vec<Value> {
    let whole: Vec<_> = receiver.requests().into_iter().filter(|request| request.complete).collect();
    whole.iter().map(body).filter(|alert| alert["kind"] == kind).collect()
}

/// Waits for the one alert of this kind.
#[track_caller]
fn the_one(receiver: &Upstream, kind: &str) -> Value {
    eventually(&format!("{kind} is told"), || !told(receiver, kind).is_empty());
    let mut told = told(receiver, kind);
    assert_eq!(told.len(), 1, "{told:#?}");
    told.remove(0)
}

/// What the receiver works out for itself.
fn signature(message: &Seen) -> String {
    let header = |name| message.headers.get(name).expect("the header is there");
    let key = BASE64_STANDARD.decode(SECRET).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length fits");
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&message.body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

fn ask_from(gateway: &Gateway, key: &Key, address: &str) {
    assert_eq!(gateway.ask(&Request::get("/").key(key).header("X-Forwarded-For", address)).status, 200);
}

/// So many networks stand in the store at least: what comes next is not among the first of its key.
fn noted(gateway: &Gateway, networks: u64) {
    let count = "SELECT count(*) FROM api_key_networks";
    let stand = || gateway.database().query_row(count, [], |row| row.get::<_, u64>(0)).expect("a number");
    eventually("it is noted", || stand() >= networks);
}

/// Nothing that was sent or logged holds a key or the webhook's secret, nor its path.
fn keeps_secrets(gateway: &Gateway, receiver: &Upstream, key: &Key) {
    let sent: String = receiver.requests().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
    for secret in [key.secret.as_str(), SECRET, "of-mine"] {
        assert!(!gateway.log().contains(secret) && !sent.contains(secret), "{secret} is told");
    }
}

/// A key that ends tomorrow, made before the gateway runs.
fn gateway_with_a_key_that_ends_soon(app: &Upstream, receiver: &Upstream) -> (Gateway, Key) {
    let mut gateway = Gateway::stopped(app.address(), &settings(receiver.address()));
    let key = gateway.create_key(&["--expires-in", "1d"]);
    gateway.run();
    (gateway, key)
}

#[test]
fn an_alert_is_signed_and_says_what_it_is_about() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let (gateway, key) = gateway_with_a_key_that_ends_soon(&app, &receiver);
    let alert = the_one(&receiver, "key_expires");
    let message = receiver.request();
    assert_eq!((message.method.as_str(), message.target.as_str()), ("POST", "/hooks/of-mine"));
    assert_eq!(message.headers.get("webhook-signature"), Some(signature(&message).as_str()));
    assert_eq!(message.headers.get("webhook-id"), alert["id"].as_str());
    assert_eq!(message.headers.get("content-type"), Some("application/json"));
    let sent_at: u64 = message.headers.get("webhook-timestamp").and_then(|text| text.parse().ok()).expect("seconds");
    assert!(clock::now().as_secs().abs_diff(sent_at) < 30);
    assert_eq!((&alert["state"], &alert["resolved_at"]), (&json!("raised"), &Value::Null));
    assert_eq!((&alert["details"]["key_id"], &alert["details"]["name"]), (&json!(key.id), &json!("laptop")));
    let name = std::fs::read_to_string(gateway.spool().join("id")).expect("the spool has a name");
    assert_eq!(alert["gateway"], name.trim());
    assert!(gateway.log().lines().any(|line| line.contains("\"target\":\"alert\"") && line.contains(&key.id)));
    assert_eq!(gateway.metric("gateway_alerts_total{kind=\"key_expires\"}"), 1);
    eventually("it is delivered", || gateway.metric("gateway_alert_deliveries_total{result=\"ok\"}") == 1);
    keeps_secrets(&gateway, &receiver, &key);
}

/// The example in the documentation, in a receiver's hands.
#[test]
fn the_documented_receiver_takes_what_is_genuine_and_nothing_else() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let _gateway = gateway_with_a_key_that_ends_soon(&app, &receiver);
    the_one(&receiver, "key_expires");
    let message = receiver.request();
    let documented = include_str!("../../docs/alerts.md").split_once("```python\n").and_then(|(_, rest)| rest.split_once("```"));
    let (example, _) = documented.expect("there is an example");
    let headers: Value = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name.to_owned(), json!(message.headers.get(name))))
        .into_iter()
        .collect::<serde_json::Map<_, _>>()
        .into();
    let is_genuine = |body: &str, secret: &str| {
        let call = "import json, sys\nprint(is_genuine(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].encode()))";
        let arguments = ["-c", &format!("{example}\n{call}"), secret, &headers.to_string(), body];
        let output = Command::new("python3").args(arguments).output().expect("there is Python");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim() == "True"
    };
    let (body, secret) = (String::from_utf8_lossy(&message.body), format!("whsec_{SECRET}"));
    assert!(is_genuine(&body, &secret));
    assert!(!is_genuine(&body.replace("raised", "solved"), &secret));
    assert!(!is_genuine(&body, "whsec_bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBvbmUgaGVyZSE="));
}

#[test]
fn what_was_not_taken_is_sent_again_under_the_same_id_and_signed_anew() {
    let attempts = AtomicUsize::new(0);
    let receiver = Upstream::start(move |exchange| match attempts.fetch_add(1, Ordering::Relaxed) {
        0 => exchange.answer(500, &[], ""),
        _ => exchange.answer(204, &[], ""),
    });
    let app = Upstream::ok();
    let (gateway, key) = gateway_with_a_key_that_ends_soon(&app, &receiver);
    eventually("it is delivered", || gateway.metric("gateway_alert_deliveries_total{result=\"ok\"}") == 1);
    let messages = receiver.requests();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].headers.get("webhook-id"), messages[1].headers.get("webhook-id"));
    assert_eq!(messages[0].body, messages[1].body);
    for message in &messages {
        assert_eq!(message.headers.get("webhook-signature"), Some(signature(message).as_str()));
    }
    assert_eq!(gateway.metric("gateway_alert_deliveries_total{result=\"retried\"}"), 1);
    keeps_secrets(&gateway, &receiver, &key);
}

#[test]
fn a_webhook_that_is_gone_is_not_asked_again() {
    let (app, receiver) = (Upstream::ok(), Upstream::start(|exchange| exchange.answer(410, &[], "")));
    let (gateway, _) = gateway_with_a_key_that_ends_soon(&app, &receiver);
    eventually("it is given up", || gateway.metric("gateway_alert_deliveries_total{result=\"given_up\"}") == 1);
    assert_eq!((receiver.requests().len(), gateway.metric("gateway_alert_deliveries_total{result=\"retried\"}")), (1, 0));
}

#[test]
fn over_tls_a_receiver_is_believed_only_with_a_certificate_of_its_own() {
    let (app, receiver, authority) = (Upstream::ok(), Upstream::ok(), Authority::new());
    for (name, result, requests) in [("other.test", "retried", 0), ("localhost", "ok", 1)] {
        let (address, _) = front::tls(authority.make(&[name]).server(None), receiver.address());
        let https = settings(address).replace("http://127.0.0.1", "https://localhost");
        let mut gateway = Gateway::stopped(app.address(), &https);
        authority.write(gateway.folder(), "ca.pem");
        gateway.set_environment("SSL_CERT_FILE", "ca.pem");
        gateway.create_key(&["--expires-in", "1d"]);
        gateway.run();
        let series = format!("gateway_alert_deliveries_total{{result=\"{result}\"}}");
        eventually("it was tried", || gateway.metric(&series) > 0);
        assert_eq!(receiver.requests().len(), requests, "{name}");
    }
}

#[test]
fn the_same_is_found_again_after_a_restart_under_the_same_id() {
    let (app, receiver) = (Upstream::ok(), Upstream::ok());
    let (mut gateway, _) = gateway_with_a_key_that_ends_soon(&app, &receiver);
    let first = the_one(&receiver, "key_expires");
    gateway.kill();
    gateway.run();
    eventually("it is told again", || told(&receiver, "key_expires").len() == 2);
    // The id changes at midnight UTC.
    let day = |alert: &Value| alert["raised_at"].as_str().map(|at| at[..10].to_owned());
    let second = &told(&receiver, "key_expires")[1];
    assert!(second["id"] == first["id"] || day(second) != day(&first), "{second} {first}");
}

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

/// What a burst is in these tests.
const MANY: &str = "alerts.refusals = 10\n";

fn refused_from(gateway: &Gateway, secret: &str, address: &str) {
    let request = Request::get("/").header("X-API-Key", secret).header("X-Forwarded-For", address);
    assert_eq!(gateway.ask(&request).status, 401);
}

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
fn a_store_that_goes_away_is_told_and_that_it_is_back_too() {
    let (app, receiver, database) = (Upstream::ok(), Upstream::ok(), SHARED.database());
    let proxy = TcpProxy::before(SHARED.port());
    let own = format!("store.url = \"{}\"\n{}", database.url_through(proxy.port()), settings(receiver.address()));
    let mut gateway = Gateway::stopped(app.address(), &own);
    gateway.cli_json(&["migrate", "up"]);
    let key = gateway.create_key(&["--rate-limit", "none"]);
    gateway.run();
    ask_from(&gateway, &key, "192.0.2.1");
    eventually("it is written", || gateway.metric("gateway_usage_written_total") == 1);
    assert_eq!(receiver.requests().len(), 0);
    proxy.cut();
    ask_from(&gateway, &key, "192.0.2.1");
    let raised = the_one(&receiver, "store_down");
    assert_eq!(the_one(&receiver, "usage_not_written")["details"], json!({ "records_waiting": 1 }));
    proxy.mend();
    for kind in ["store_down", "usage_not_written"] {
        eventually("its end is told", || told(&receiver, kind).len() == 2);
    }
    let resolved = &told(&receiver, "store_down")[1];
    assert_eq!((&resolved["state"], &resolved["id"]), (&json!("resolved"), &raised["id"]));
    assert_eq!(resolved["raised_at"], raised["raised_at"]);
    let ids: std::collections::BTreeSet<_> =
        receiver.requests().iter().map(|seen| seen.headers.get("webhook-id").map(str::to_owned)).collect();
    assert_eq!(ids.len(), 4, "each message has an id of its own");
    keeps_secrets(&gateway, &receiver, &key);
}

#[test]
fn redis_that_goes_away_is_told_and_that_it_is_back_too() {
    let (app, receiver, redis) = (Upstream::ok(), Upstream::ok(), Redis::start());
    let own =
        format!("redis = {{ url = \"{}\", prefix = \"{}\" }}\n{}", redis.url(), fresh_prefix(), settings(receiver.address()));
    let _gateway = Gateway::start(app.address(), &own);
    redis.kill();
    the_one(&receiver, "redis_down");
    redis.restart();
    eventually("its end is told", || told(&receiver, "redis_down").len() == 2);
    assert_eq!(told(&receiver, "redis_down")[1]["state"], "resolved");
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

#[test]
fn a_webhook_that_comes_with_a_reload_is_told_and_the_one_before_no_more() {
    let (app, before, after) = (Upstream::ok(), Upstream::ok(), Upstream::ok());
    let gateway = Gateway::start(app.address(), &settings(before.address()));
    let key = gateway.create_key(&[]);
    ask_from(&gateway, &key, "192.0.2.1");
    eventually("it is written", || gateway.metric("gateway_usage_written_total") == 1);
    noted(&gateway, 1);
    gateway.configure(app.address(), &settings(after.address()));
    gateway.reload();
    ask_from(&gateway, &key, "198.51.100.1");
    the_one(&after, "new_network");
    assert_eq!(before.requests().len(), 0);
}
