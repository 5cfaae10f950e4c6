//! Keys managed over HTTP, by administrators and by the clients that Hokusai deployments have already.

use serde_json::{Value, json};

use crate::support::admin::{TOKEN, call, created, json_of, started, with_key};
use crate::support::{Gateway, Request, Response, Upstream, begin_within_an_hour, eventually};

fn validated(gateway: &Gateway, key: &str, fields: &Value) -> Response {
    let request = Request::post("/api/v1/keys/validate", fields.to_string()).header("Authorization", &format!("Bearer {key}"));
    request.send_to(gateway.admin_address())
}

#[test]
fn without_a_token_the_api_is_closed_and_the_rest_of_the_door_is_not() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    for path in ["/keys", "/openapi.json", "/usage/top"] {
        call(&gateway, "GET", path, &Value::Null).expect(401, "invalid_credential");
    }
    Request::get("/api/v1/keys")
        .header("Authorization", "Bearer ")
        .send_to(gateway.admin_address())
        .expect(401, "missing_credential");
    assert_eq!(gateway.ask_admin("/healthz").status, 200);
    assert_eq!(gateway.ask_admin("/metrics").status, 200);
    // What names its own credential is open.
    assert_eq!(validated(&gateway, &key.secret, &json!({ "service_id": "s" })).status, 200);
}

#[test]
fn each_token_opens_and_nothing_else_does() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let with = |token: &str| with_key("/api/v1/keys", token).send_to(gateway.admin_address());
    for token in [TOKEN, "the-next-token"] {
        assert_eq!(with(token).status, 200, "{token}");
    }
    for token in ["a-token-for-test", "a-token-for-tests, the-next-token", ",", "A-TOKEN-FOR-TESTS"] {
        with(token).expect(401, "invalid_credential");
    }
    assert_eq!(with(TOKEN).header("cache-control"), Some("no-store"));
    let refused = Request::get("/api/v1/keys").send_to(gateway.admin_address());
    refused.expect(401, "missing_credential");
    assert!(refused.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")), "{refused:?}");
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    call(&gateway, "GET", "/nothing", &Value::Null).expect(404, "not_found");
    call(&gateway, "PUT", "/keys", &Value::Null).expect(405, "method_not_allowed");
}

/// The calls, fields and statuses that clients of the platform were written against.
#[test]
fn existing_clients_create_list_rotate_and_delete() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, key_id) = created(
        &gateway,
        &json!({
            "name": "ci", "service_id": "platform", "environment": "test", "rate_limit_per_hour": 50,
            "expires_at": "2126-11-01T10:00:00+00:00+30d", "allowed_ips": ["127.0.0.0/8"], "user_id": "ada",
        }),
    );
    assert!(key.starts_with("hk_test_"), "its environment");
    assert_eq!(gateway.ask(&with_key("/", &key)).status, 200);

    let listed = json_of(&call(&gateway, "GET", "/keys", &Value::Null), 200);
    let row = &listed[0];
    let shown = ["id", "name", "environment", "is_active", "expires_at"].map(|field| row[field].clone());
    assert_eq!(shown, [json!(key_id), json!("ci"), json!("test"), json!(true), json!("2126-12-01T10:00:00.000")]);
    assert!(row["created_at"].as_str().is_some_and(|time| time.ends_with("+00:00")), "{row}");
    assert!(row.as_object().is_some_and(|row| row.contains_key("last_used_at")), "{row}");
    assert_eq!(row["scopes"], json!(["model:read", "model:write", "mlflow:access"]));

    let rotated = json_of(&call(&gateway, "POST", &format!("/keys/{key_id}/rotate"), &Value::Null), 200);
    let new = rotated["api_key"].as_str().expect("a key");
    for secret in [key.as_str(), new] {
        assert_eq!(gateway.ask(&with_key("/", secret)).status, 200, "both work for a day");
    }

    assert_eq!(call(&gateway, "DELETE", &format!("/keys/{key_id}"), &Value::Null).status, 204);
    for secret in [key.as_str(), new] {
        eventually("the key is refused", || gateway.ask(&with_key("/", secret)).status == 401);
    }
    for (method, path) in [("DELETE", "/keys/key_nobody"), ("POST", "/keys/key_nobody/rotate"), ("GET", "/keys/key_nobody")] {
        call(&gateway, method, path, &Value::Null).expect(404, "not_found");
    }
    assert!(!gateway.log().contains(&key) && !gateway.log().contains(TOKEN), "the log names no secret");
}

#[test]
fn a_long_list_comes_page_by_page() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let made: Vec<_> =
        (0..5).map(|number| created(&gateway, &json!({ "name": format!("k{number}"), "user_id": "a b&c" })).1).collect();
    let (mut path, mut seen) = ("/keys?limit=2&user_id=a%20b%26c".to_owned(), Vec::new());
    loop {
        let page = call(&gateway, "GET", &path, &Value::Null);
        let rows = json_of(&page, 200);
        seen.extend(rows.as_array().expect("a list").iter().map(|row| row["id"].as_str().expect("a text").to_owned()));
        let Some(link) = page.header("link") else { break };
        let next = link.strip_prefix("</api/v1").and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
        path = next.expect("a link to the next page").to_owned();
    }
    // Some were made within one millisecond, and are in the order of their ids.
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(seen), sorted(made));
    call(&gateway, "GET", "/keys?limit=0", &Value::Null).expect(422, "invalid_value");
}

#[test]
fn what_a_client_leaves_out_has_its_default() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "keys.default_rate_limit = 7");
    let (_, key_id) = created(&gateway, &json!({ "name": "plain" }));
    let key = json_of(&call(&gateway, "GET", &format!("/keys/{key_id}"), &Value::Null), 200);
    let fields = ["user_id", "environment", "rate_limit_per_hour", "scopes", "expires_at"].map(|field| key[field].clone());
    assert_eq!(fields, [json!("admin"), json!("production"), json!(7), json!([]), Value::Null]);
    let (_, unlimited) = created(&gateway, &json!({ "name": "free", "rate_limit_per_hour": null }));
    let key = json_of(&call(&gateway, "GET", &format!("/keys/{unlimited}"), &Value::Null), 200);
    assert_eq!(key["rate_limit_per_hour"], Value::Null);
}

#[test]
fn a_change_is_of_what_was_named_and_reaches_the_running_gateway() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, key_id) = created(&gateway, &json!({ "name": "ci", "scopes": ["read"], "expires_at": "2126-01-01T00:00:00Z" }));
    assert_eq!(gateway.ask(&with_key("/", &key)).status, 200);
    let path = format!("/keys/{key_id}");
    let changed = json_of(&call(&gateway, "PATCH", &path, &json!({ "is_active": false, "expires_at": null })), 200);
    let fields = ["name", "scopes", "expires_at", "is_active"].map(|field| changed[field].clone());
    assert_eq!(fields, [json!("ci"), json!(["read"]), Value::Null, json!(false)]);
    eventually("the key is refused", || gateway.ask(&with_key("/", &key)).status == 401);
    json_of(&call(&gateway, "PATCH", &path, &json!({ "is_active": true, "allowed_ips": ["192.0.2.1"] })), 200);
    eventually("the address is judged", || gateway.ask(&with_key("/", &key)).status == 403);
    assert_eq!(call(&gateway, "DELETE", &path, &Value::Null).status, 204);
    call(&gateway, "PATCH", &path, &json!({ "is_active": true })).expect(409, "conflict");
}

#[test]
fn what_cannot_be_is_refused_by_its_name_and_nothing_is_made() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    for (field, value) in [
        ("environment", json!("moon")),
        ("expires_at", json!("tomorrow")),
        ("expires_at", json!("2020-01-01T00:00:00Z")),
        ("allowed_ips", json!(["nowhere"])),
        ("scopes", json!(["a b"])),
        ("name", json!(" ")),
        ("rate_limit_per_hour", json!(0)),
    ] {
        let mut fields = json!({ "name": "ci" });
        fields[field] = value;
        let refused = call(&gateway, "POST", "/keys", &fields);
        refused.expect(422, "invalid_value");
        let named = field.trim_end_matches("_per_hour");
        assert!(refused.text().contains(named), "{field}: {refused:?}");
    }
    for body in [json!({ "name": "ci", "rate_limit": 5 }), json!({}), json!([]), json!({ "name": 5 })] {
        call(&gateway, "POST", "/keys", &body).expect(400, "bad_request");
    }
    let large = json!({ "name": "x".repeat(3 << 20) });
    call(&gateway, "POST", "/keys", &large).expect(413, "body_too_large");
    assert_eq!(json_of(&call(&gateway, "GET", "/keys", &Value::Null), 200), json!([]));
}

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

#[test]
fn a_store_that_cannot_be_asked_is_never_a_wrong_key() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, _) = created(&gateway, &json!({ "name": "ci" }));
    let database = gateway.database();
    database.execute_batch("ALTER TABLE api_keys RENAME TO gone").expect("plain SQL works");
    let asked = validated(&gateway, &key, &json!({ "service_id": "s" }));
    asked.expect(503, "store_unavailable");
    assert_eq!(asked.header("retry-after"), Some("1"));
    database.execute_batch("ALTER TABLE gone RENAME TO api_keys").expect("plain SQL works");
    eventually("it is asked again", || validated(&gateway, &key, &json!({ "service_id": "s" })).status == 200);
}

#[test]
fn a_change_is_made_of_what_the_caller_has_seen_or_not_at_all() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, id) = created(&gateway, &json!({"name": "n"}));
    let path = format!("/keys/{id}");
    let seen = call(&gateway, "GET", &path, &Value::Null).header("etag").expect("a version").to_owned();
    assert_eq!(gateway.ask(&with_key("/", &key)).status, 200, "its use changes no version");
    let rename = |name: &str, tag: &str| {
        let request = Request::with_body("PATCH", &format!("/api/v1{path}"), json!({ "name": name }).to_string());
        let request = request.header("Authorization", &format!("Bearer {TOKEN}")).header("If-Match", tag);
        request.send_to(gateway.admin_address())
    };
    let changed = rename("first", &seen);
    assert_eq!(changed.status, 200, "{changed:?}");
    rename("second", &seen).expect(412, "precondition_failed");
    rename("second", &format!("W/{}", changed.header("etag").expect("a version"))).expect(412, "precondition_failed");
    rename("second", "no-quotes").expect(400, "bad_request");
    let shown = call(&gateway, "GET", &path, &Value::Null);
    assert_eq!((shown.header("etag"), json_of(&shown, 200)["name"].clone()), (changed.header("etag"), json!("first")));
    assert_eq!(rename("third", &format!("\"other\", {}", shown.header("etag").expect("a version"))).status, 200);
    assert_eq!(rename("fourth", "*").status, 200);
}

#[test]
fn a_request_that_is_sent_again_makes_one_key_and_rotates_it_once() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let send = |path: &str, name: &str, body: &Value| {
        let request = Request::with_body("POST", &format!("/api/v1{path}"), body.to_string());
        let request = request.header("Authorization", &format!("Bearer {TOKEN}")).header("Idempotency-Key", name);
        request.send_to(gateway.admin_address())
    };
    let name = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";
    let first = send("/keys", name, &json!({"name": "n"}));
    let again = send("/keys", name, &json!({"name": "n"}));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
    let (first, again) = (json_of(&first, 201), json_of(&again, 201));
    assert_eq!(first, again);
    assert_eq!(gateway.ask(&with_key("/", first["api_key"].as_str().expect("a key"))).status, 200);
    send("/keys", name, &json!({"name": "other"})).expect(409, "conflict");
    let keys = json_of(&call(&gateway, "GET", "/keys", &Value::Null), 200);
    assert_eq!(keys.as_array().map(Vec::len), Some(1));

    let path = format!("/keys/{}/rotate", first["key_id"].as_str().expect("an id"));
    let rotated = json_of(&send(&path, name, &json!({})), 200);
    let again = send(&path, name, &json!({}));
    assert_eq!(
        (again.header("idempotent-replayed"), json_of(&again, 200)["api_key"].clone()),
        (Some("true"), rotated["api_key"].clone())
    );
    assert_ne!(rotated["api_key"], first["api_key"]);
    for bad in ["short", "with a space in the middle", &"x".repeat(256)] {
        send("/keys", bad, &json!({"name": "n"})).expect(400, "bad_request");
    }
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
