//! Changes that meet, and requests that are sent again.

use serde_json::{Value, json};

use crate::support::admin::{TOKEN, call, created, json_of, started, with_key};
use crate::support::{Request, Upstream};

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
