//! Keys managed over HTTP, by administrators and by the clients that Hokusai deployments have already.

mod keys;
mod owners;
mod repeats;
mod services;
mod tokens;

use serde_json::Value;

use crate::support::{Gateway, Request, Response};

fn validated(gateway: &Gateway, key: &str, fields: &Value) -> Response {
    let request = Request::post("/api/v1/keys/validate", fields.to_string()).header("Authorization", &format!("Bearer {key}"));
    request.send_to(gateway.admin_address())
}
