//! Keys created, listed, changed, rotated and deleted by administrators.

use serde_json::{Value, json};

use crate::support::admin::{TOKEN, call, created, json_of, started, with_key};
use crate::support::{Upstream, eventually};

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
