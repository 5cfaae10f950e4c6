//! What is told of a store or a Redis that goes away, and that it is back.

use serde_json::json;

use super::{ask_from, keeps_secrets, settings, the_one, told};
use crate::support::postgres::SHARED;
use crate::support::redis::{Server as Redis, fresh_prefix};
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{Gateway, Upstream, eventually};

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
