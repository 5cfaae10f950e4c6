//! Owners, who call with a key of their own: they reach their own keys, and gain nothing by it.

use serde_json::{Value, json};

use crate::support::admin::{call, created, json_of, started, with_key};
use crate::support::{Request, Upstream, eventually};

#[test]
fn an_owner_reaches_their_own_keys_alone() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, own) = created(&gateway, &json!({ "name": "one", "user_id": "ada" }));
    let (second_key, second) = created(&gateway, &json!({ "name": "two", "user_id": "ada" }));
    let (_, other) = created(&gateway, &json!({ "name": "three", "user_id": "bob" }));
    let ask = |method: &str, path: &str| {
        let request = Request::with_body(method, &format!("/api/v1{path}"), "");
        request.header("X-API-Key", &key).send_to(gateway.admin_address())
    };
    for path in ["/keys", "/keys?user_id=bob"] {
        let listed = json_of(&ask("GET", path), 200);
        let ids: Vec<_> = listed.as_array().expect("a list").iter().map(|row| row["id"].clone()).collect();
        assert_eq!(ids, [json!(own), json!(second)], "{path}");
    }
    assert_eq!(ask("GET", &format!("/keys/{second}")).status, 200);
    for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/rotate")] {
        ask(method, &format!("/keys/{other}{path}")).expect(404, "not_found");
    }
    for (method, path) in [("PATCH", format!("/keys/{own}")), ("POST", format!("/limits/{own}/reset"))] {
        ask(method, &path).expect(403, "forbidden");
    }
    let rotated = json_of(&ask("POST", &format!("/keys/{own}/rotate")), 200);
    assert_eq!(gateway.ask(&with_key("/", rotated["api_key"].as_str().expect("a key"))).status, 200);
    assert_eq!(ask("DELETE", &format!("/keys/{second}")).status, 204);
    eventually("it is refused", || gateway.ask(&with_key("/", &second_key)).status == 401);
    assert_eq!(json_of(&call(&gateway, "GET", "/keys?active=true", &Value::Null), 200).as_array().map(Vec::len), Some(2));
}

/// Else the least of a user's keys would be as good as the best.
#[test]
fn a_key_that_may_little_gets_no_secret_of_one_that_may_more() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (little, _) = created(&gateway, &json!({ "name": "little", "user_id": "ada", "scopes": ["read"] }));
    let (_, much) = created(&gateway, &json!({ "name": "much", "user_id": "ada", "scopes": ["read", "write"] }));
    let request = Request::post(&format!("/api/v1/keys/{much}/rotate"), "{}").header("X-API-Key", &little);
    request.send_to(gateway.admin_address()).expect(403, "forbidden");
}

#[test]
fn an_owner_creates_keys_that_may_no_more_than_the_one_they_call_with() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "[keys]\nowner_rate_limit = 100");
    let (key, own) = created(
        &gateway,
        &json!({
            "name": "one", "user_id": "ada", "environment": "test", "rate_limit_per_hour": 60, "scopes": ["read", "write"],
            "allowed_ips": ["127.0.0.0/8"], "expires_at": "2126-11-01T10:00:00+00:00",
        }),
    );
    let create = |fields: &Value| {
        let request = Request::with_body("POST", "/api/v1/keys", fields.to_string());
        request.header("X-API-Key", &key).send_to(gateway.admin_address())
    };
    for more in [
        json!({"name": "n", "rate_limit_per_hour": 61}),
        json!({"name": "n", "rate_limit_per_hour": null}),
        json!({"name": "n", "scopes": ["admin"]}),
        json!({"name": "n", "allowed_ips": ["192.0.2.1"]}),
        json!({"name": "n", "allowed_ips": []}),
        json!({"name": "n", "expires_at": "2126-11-01T10:00:01+00:00"}),
        json!({"name": "n", "environment": "production"}),
        json!({"name": "n", "user_id": "bob"}),
    ] {
        create(&more).expect(403, "forbidden");
    }
    // All that is left out is as in their own.
    create(&json!({"name": "two"})).expect(409, "conflict");
    let second = json_of(&create(&json!({"name": "two", "rate_limit_per_hour": 30, "scopes": ["read"]})), 201);
    let shown = ["user_id", "environment", "expires_at", "allowed_ips", "scopes"].map(|field| second[field].clone());
    let expected = ["ada".into(), "test".into(), "2126-11-01T10:00:00.000+00:00".into(), json!(["127.0.0.0/8"]), json!(["read"])];
    assert_eq!(shown, expected);
    assert_eq!(gateway.ask(&with_key("/", second["api_key"].as_str().expect("a key"))).status, 200);
    create(&json!({"name": "three", "rate_limit_per_hour": 11})).expect(409, "conflict");
    assert_eq!(create(&json!({"name": "three", "rate_limit_per_hour": 10})).status, 201);
    let listed = json_of(&call(&gateway, "GET", "/keys?user_id=ada", &Value::Null), 200);
    assert_eq!(listed.as_array().map(Vec::len), Some(3), "{own} and two more");
}

#[test]
fn owners_create_none_where_that_is_configured() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "[keys]\nowner_rate_limit = 0");
    for limit in [json!(10), Value::Null] {
        let (key, _) = created(&gateway, &json!({"name": "one", "user_id": "ada", "rate_limit_per_hour": limit}));
        let request = Request::with_body("POST", "/api/v1/keys", json!({"name": "n", "rate_limit_per_hour": 1}).to_string());
        request.header("X-API-Key", &key).send_to(gateway.admin_address()).expect(403, "forbidden");
    }
}
