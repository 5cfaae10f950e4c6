//! Who gets in: the tokens of administrators open the API, and nothing else does.

use serde_json::{Value, json};

use super::validated;
use crate::support::admin::{TOKEN, call, started, with_key};
use crate::support::{Gateway, Request, Upstream};

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
