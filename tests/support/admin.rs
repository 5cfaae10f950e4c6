//! The admin API, as an administrator calls it.

use serde_json::Value;

use super::{Gateway, Request, Response, Upstream};

pub const TOKEN: &str = "a-token-for-tests";

/// Two tokens are good, so that one can follow another.
pub fn started(upstream: &Upstream, own: &str) -> Gateway {
    let mut gateway = Gateway::stopped(upstream.address(), own);
    gateway.set_environment("HOKUSAI_ADMIN_TOKEN", &format!("{TOKEN}, the-next-token"));
    gateway.run();
    gateway
}

pub fn call(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::with_body(method, &format!("/api/v1{path}"), body);
    request.header("Authorization", &format!("Bearer {TOKEN}")).send_to(gateway.admin_address())
}

#[track_caller]
pub fn json_of(response: &Response, status: u16) -> Value {
    assert_eq!(response.status, status, "{response:?}");
    serde_json::from_slice(&response.body).expect("JSON")
}

pub fn created(gateway: &Gateway, fields: &Value) -> (String, String) {
    let created = json_of(&call(gateway, "POST", "/keys", fields), 201);
    let text = |field: &str| created[field].as_str().expect("a text").to_owned();
    (text("api_key"), text("key_id"))
}

pub fn with_key(path: &str, key: &str) -> Request {
    Request::get(path).header("Authorization", &format!("Bearer {key}"))
}
