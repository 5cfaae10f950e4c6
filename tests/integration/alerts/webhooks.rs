//! How a webhook is told: signed, tried again, over TLS, and where the settings say now.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hokusai_gateway::clock;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{SECRET, ask_from, gateway_with_a_key_that_ends_soon, keeps_secrets, noted, settings, the_one, told};
use crate::support::tls::Authority;
use crate::support::upstream::Seen;
use crate::support::{Gateway, Upstream, eventually, front};

/// What the receiver works out for itself.
fn signature(message: &Seen) -> String {
    let header = |name| message.headers.get(name).expect("the header is there");
    let key = BASE64_STANDARD.decode(SECRET).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length fits");
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&message.body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
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
    let is_told = |line: &str| line.contains("\"target\":\"alert\"") && line.contains(&key.id);
    eventually("it is in the log", || gateway.log().lines().any(is_told));
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
    let documented =
        include_str!("../../../docs/alerts.md").split_once("```python\n").and_then(|(_, rest)| rest.split_once("```"));
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
