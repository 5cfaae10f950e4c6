//! Somebody is told of what goes wrong, once, in words that can be trusted; and of nothing where nothing is wrong.

mod keys;
mod outages;
mod refusals;
mod webhooks;

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::upstream::Seen;
use crate::support::{Gateway, Key, Request, Upstream, eventually};

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

fn refused_from(gateway: &Gateway, secret: &str, address: &str) {
    let request = Request::get("/").header("X-API-Key", secret).header("X-Forwarded-For", address);
    assert_eq!(gateway.ask(&request).status, 401);
}
