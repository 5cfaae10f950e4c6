//! What other services ask and tell: a key is judged as in a request and counted as one, and usage is counted like any other.

use serde_json::json;

use super::validated;
use crate::support::admin::{call, created, json_of, started, with_key};
use crate::support::{Request, Upstream, begin_within_an_hour, eventually};

#[test]
fn a_validation_costs_one_of_the_hour_that_requests_cost_too() {
    begin_within_an_hour();
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let fields = json!({ "name": "ci", "user_id": "ada", "scopes": ["read"], "rate_limit_per_hour": 3 });
    let (key, key_id) = created(&gateway, &fields);
    assert_eq!(gateway.ask(&with_key("/", &key)).status, 200);
    let wanted = json!({
        "user_id": "ada", "key_id": key_id, "service_id": "mlflow", "scopes": ["read"], "rate_limit_per_hour": 3,
    });
    assert_eq!(json_of(&validated(&gateway, &key, &json!({ "service_id": "mlflow" })), 200), wanted);
    let older = Request::post("/api/v1/keys/validate", json!({ "api_key": key, "service_id": "mlflow" }).to_string());
    assert_eq!(json_of(&older.send_to(gateway.admin_address()), 200), wanted);
    let spent = validated(&gateway, &key, &json!({ "service_id": "mlflow" }));
    spent.expect(429, "rate_limited");
    assert!(spent.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok()), "{spent:?}");
    assert_eq!(gateway.ask(&with_key("/", &key)).status, 429);
}

#[test]
fn whatever_is_wrong_with_a_key_a_validation_says_401() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (elsewhere, _) = created(&gateway, &json!({ "name": "far", "allowed_ips": ["192.0.2.1"] }));
    let (disabled, key_id) = created(&gateway, &json!({ "name": "off" }));
    json_of(&call(&gateway, "PATCH", &format!("/keys/{key_id}"), &json!({ "is_active": false })), 200);
    for (key, fields) in [
        (elsewhere.as_str(), json!({ "service_id": "s" })),
        // Anybody could say so.
        (elsewhere.as_str(), json!({ "service_id": "s", "client_ip": "192.0.2.1" })),
        (disabled.as_str(), json!({ "service_id": "s" })),
        ("hk_live_nobody", json!({ "service_id": "s" })),
        ("", json!({ "service_id": "s" })),
        (disabled.as_str(), json!({ "service_id": "s", "api_key": "another-key-than-that" })),
        (disabled.as_str(), json!([])),
    ] {
        validated(&gateway, key, &fields).expect(401, "invalid_credential");
    }
}

#[test]
fn a_trusted_caller_says_whose_address_is_judged() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "client_ip.trusted_proxies = [\"127.0.0.0/8\"]");
    let (key, _) = created(&gateway, &json!({ "name": "far", "allowed_ips": ["192.0.2.1"] }));
    let status = |address: &str| validated(&gateway, &key, &json!({ "service_id": "s", "client_ip": address })).status;
    assert_eq!(["192.0.2.1", "192.0.2.2", "nowhere"].map(status), [200, 401, 401]);
}

#[test]
fn a_store_that_cannot_be_asked_is_never_a_wrong_key() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, _) = created(&gateway, &json!({ "name": "ci" }));
    gateway.hide_keys();
    let asked = validated(&gateway, &key, &json!({ "service_id": "s" }));
    asked.expect(503, "store_unavailable");
    assert_eq!(asked.header("retry-after"), Some("1"));
    gateway.show_keys();
    eventually("it is asked again", || validated(&gateway, &key, &json!({ "service_id": "s" })).status == 200);
}

#[test]
fn usage_that_a_service_tells_is_counted_like_any_other() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, key_id) = created(&gateway, &json!({ "name": "ci" }));
    let done = json!({ "endpoint": "/predict?x=1", "response_time_ms": 12.5, "status_code": 201, "cost": 3 });
    for path in [format!("/usage/{key_id}"), format!("/usage/{key_id}/debit")] {
        assert_eq!(call(&gateway, "POST", &path, &done).status, 202);
    }
    let request = Request::post(&format!("/api/v1/usage/{key_id}"), done.to_string());
    request.clone().header("X-API-Key", &key).send_to(gateway.admin_address()).expect(403, "forbidden");
    request.send_to(gateway.admin_address()).expect(401, "missing_credential");
    call(&gateway, "POST", &format!("/usage/{key_id}"), &json!({ "response_time_ms": -1 })).expect(422, "invalid_value");
    let rows = || -> Vec<(String, u16, f64)> {
        let database = gateway.database();
        let sql = "SELECT endpoint, status_code, response_time_ms FROM api_key_usage WHERE api_key_id = ?1";
        let mut statement = database.prepare(sql).expect("SQL");
        let rows = statement.query_map([&key_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    };
    eventually("both are written", || rows().len() == 2);
    assert!(rows().iter().all(|row| *row == ("/predict".to_owned(), 201, 12.5)), "{:?}", rows());
}
