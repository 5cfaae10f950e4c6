//! A message to a webhook, signed as the Standard Webhooks specification has it: HMAC-SHA-256 over id, time and body.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use sha2::Sha256;
use tokio::time::timeout;

use super::alert::Alert;
use crate::certificates;
use crate::config::Webhook;
use crate::model::timestamp::Timestamp;

/// For one attempt, from the connection to the head of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
const AGENT: &str = concat!("hokusai-gateway/", env!("CARGO_PKG_VERSION"));

/// The same for each attempt.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    body: Bytes,
}

/// Why it was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
    #[error("no answer: {}", cause(.0))]
    Unreachable(legacy::Error),
    #[error("answered with {0}")]
    Status(StatusCode),
}

impl PostError {
    /// Whether it may be taken later. What says that the request is wrong says so again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Timeout | Self::Unreachable(_) => true,
            Self::Status(status) => {
                status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(status)
            }
        }
    }
}

/// The innermost error says what happened; none names the URL.
fn cause(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl Message {
    pub fn of(alert: &Alert) -> Self {
        let body = serde_json::to_vec(alert).expect("an alert is plain data");
        Self { id: alert.message_id(), body: body.into() }
    }

    fn request(&self, webhook: &Webhook, now: Timestamp) -> Request<Full<Bytes>> {
        let timestamp = now.as_secs();
        Request::post(webhook.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header("webhook-id", &self.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.signature(webhook, timestamp))
            .body(Full::new(self.body.clone()))
            .expect("a checked URL, and headers of visible ASCII")
    }

    fn signature(&self, webhook: &Webhook, timestamp: u64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(webhook.secret.expose()).expect("a key of any length fits");
        mac.update(format!("{}.{timestamp}.", self.id).as_bytes());
        mac.update(&self.body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Posts over connections of its own.
pub struct Poster(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Poster {
    pub fn new() -> Self {
        let tls = certificates::client(certificates::system_authorities()).with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }

    pub async fn post(&self, message: &Message, webhook: &Webhook, now: Timestamp) -> Result<(), PostError> {
        let answered = timeout(PATIENCE, self.0.request(message.request(webhook, now))).await;
        match answered.map_err(|_| PostError::Timeout)?.map_err(PostError::Unreachable)?.status() {
            status if status.is_success() => Ok(()),
            status => Err(PostError::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let webhook = Webhook::at("https://h/", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let message = Message { id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(), body: "{\"test\": 2432232314}".into() };
        assert_eq!(message.signature(&webhook, 1_614_265_330), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_says_that_the_request_is_wrong_is_not_asked_again() {
        let may_pass = |status| PostError::Status(StatusCode::from_u16(status).expect("a status")).may_pass();
        assert_eq!([500, 503, 408, 429].map(may_pass), [true; 4]);
        assert_eq!([301, 400, 401, 404, 410].map(may_pass), [false; 5]);
        assert!(PostError::Timeout.may_pass());
    }
}
