//! What each failure is answered with: one exhaustive table, as `application/problem+json` (RFC 9457).

use std::ops::Range;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::answer_body::AnswerBody;
use super::failure::Failure;
use super::request_headers::X_REQUEST_ID;
use super::request_id::RequestId;
use crate::model::quota::Quota;
use crate::model::timestamp::Timestamp;

const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Bytes of what varies in our headers: an id, four numbers of up to twenty digits, and what stands between them.
const OWN_MOST: usize = 32 + 108;
/// What stands before the numbers in the newer form.
const OF_LIMIT: &[u8] = b"\"hour\";q=";
const OF_REMAINING: &[u8] = b"\"hour\";r=";

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// RFC 9457 3.1, and our `code` and `request_id`.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
}

/// The whole answer to a failure.
pub fn to_failure(failure: &Failure, request_id: &RequestId) -> Response<AnswerBody> {
    let (status, _) = words(failure);
    let problem = problem(failure, request_id);
    let mut response = Response::new(AnswerBody::own(problem));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM);
    match failure {
        Failure::MissingKey => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="hokusai""#));
        }
        Failure::InvalidKey(_) => {
            let challenge = r#"Bearer realm="hokusai", error="invalid_token""#;
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Failure::InsufficientScope(scopes) => {
            let challenge = format!(r#"Bearer realm="hokusai", error="insufficient_scope", scope="{scopes}""#);
            headers.insert(WWW_AUTHENTICATE, challenge.try_into().expect("checked scopes are visible ASCII"));
        }
        Failure::RateLimited { retry_after, .. } => {
            headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after));
        }
        // A rate of at least one a second admits another within one.
        Failure::StoreUnavailable | Failure::TooFast | Failure::TooManyAtOnce => {
            headers.insert(RETRY_AFTER, HeaderValue::from(1));
        }
        Failure::MethodNotAllowed => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        _ => {}
    }
    response
}

/// The answer to what never became a request, as bytes for the wire (HTTP/1.1), after which the connection is closed.
pub fn on_the_wire(failure: &Failure, request_id: &RequestId) -> Vec<u8> {
    let (status, _) = words(failure);
    let body = problem(failure, request_id);
    let mut wire = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\nx-request-id: ",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len()
    )
    .into_bytes();
    wire.extend_from_slice(request_id.as_bytes());
    wire.extend_from_slice(b"\r\n\r\n");
    wire.extend_from_slice(&body);
    wire
}

/// Status, and what the client is told. Nothing in it tells an attacker more than the status does.
pub const fn words(failure: &Failure) -> (StatusCode, &'static str) {
    match failure {
        Failure::MissingKey => (StatusCode::UNAUTHORIZED, "This address needs an API key."),
        Failure::InvalidKey(_) => (StatusCode::UNAUTHORIZED, "The API key is not valid."),
        Failure::AmbiguousKey => (StatusCode::BAD_REQUEST, "The request presents two different API keys."),
        Failure::IpNotAllowed => (StatusCode::FORBIDDEN, "The API key may not be used from this address."),
        Failure::InsufficientScope(_) => (StatusCode::FORBIDDEN, "The API key lacks a scope that this address needs."),
        Failure::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "The API key has spent its requests of this hour."),
        Failure::TooFast => (StatusCode::TOO_MANY_REQUESTS, "Too many requests came within a second."),
        Failure::TooManyAtOnce => (StatusCode::TOO_MANY_REQUESTS, "Too many requests are under way at once."),
        Failure::StoreUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "The API key cannot be checked at the moment."),
        Failure::NoRoute => (StatusCode::NOT_FOUND, "Nothing is served under this address."),
        Failure::BadRequest(detail) => (StatusCode::BAD_REQUEST, detail),
        Failure::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "CONNECT and TRACE are not served."),
        Failure::HeaderTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's headers are too large."),
        Failure::UriTooLong => (StatusCode::URI_TOO_LONG, "The request's target is too long."),
        Failure::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too large."),
        Failure::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."),
        Failure::UpstreamUnreachable => (StatusCode::BAD_GATEWAY, "The server behind the gateway cannot be reached."),
        Failure::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "The server behind the gateway did not answer in time."),
        Failure::UpstreamProtocol(_) => (StatusCode::BAD_GATEWAY, "The server behind the gateway gave no valid answer."),
        Failure::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "The gateway failed to answer."),
    }
}

/// What the rate-limit headers say.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    pub quota: &'a Quota,
    pub now: Timestamp,
}

/// The request's id and, where a key was used, the three families of rate-limit headers. They are written into one block. What is
/// another with each answer is marked as what HTTP/2 is not to index (RFC 7541 7.1.3): it would fill the table of headers of each
/// connection with values that do not come again, and be looked for among them.
pub fn add_own(headers: &mut HeaderMap, id: &RequestId, limits: Option<Limits<'_>>) {
    let mut block = Block { text: [0; OWN_MOST], length: 0 };
    let id_place = match id {
        RequestId::MadeUp(digits) => block.put(&[digits]),
        RequestId::Given(_) => 0..0,
    };
    let places = limits.map(|limits| block.put_limits(limits));
    let text = if block.length > 0 { Bytes::from_owner(block.text) } else { Bytes::new() };
    let value =
        |place: Range<usize>| HeaderValue::from_maybe_shared(text.slice(place)).expect("digits and visible ASCII are a value");
    let id = if let RequestId::Given(id) = id { id.clone() } else { value(id_place) };
    headers.insert(X_REQUEST_ID, not_indexed(id));
    if let Some([limit, remaining, reset, policy, newer]) = places {
        headers.insert(X_RATELIMIT_LIMIT, value(limit));
        headers.insert(X_RATELIMIT_REMAINING, not_indexed(value(remaining)));
        headers.insert(X_RATELIMIT_RESET, value(reset));
        headers.insert(RATELIMIT_POLICY, value(policy));
        headers.insert(RATELIMIT, not_indexed(value(newer)));
    }
}

fn not_indexed(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

struct Block {
    text: [u8; OWN_MOST],
    length: usize,
}

impl Block {
    /// Returns where they stand.
    fn put(&mut self, parts: &[&[u8]]) -> Range<usize> {
        let start = self.length;
        for part in parts {
            self.text[self.length..][..part.len()].copy_from_slice(part);
            self.length += part.len();
        }
        start..self.length
    }

    /// Returns where the limit stands, what remains, the reset, and the newer form of the first and of the others.
    fn put_limits(&mut self, Limits { quota, now }: Limits<'_>) -> [Range<usize>; 5] {
        let mut buffers = [itoa::Buffer::new(); 4];
        let [first, second, third, fourth] = &mut buffers;
        let limit = first.format(quota.limit).as_bytes();
        let remaining = second.format(quota.remaining).as_bytes();
        let reset = self.put(&[third.format(quota.reset.as_secs()).as_bytes()]);
        let policy = self.put(&[OF_LIMIT, limit, b";w=3600"]);
        let newer = self.put(&[OF_REMAINING, remaining, b";t=", fourth.format(seconds_left(quota, now)).as_bytes()]);
        // The same digits serve both forms.
        let after = |start: usize, text: &[u8], digits: &[u8]| start + text.len()..start + text.len() + digits.len();
        [after(policy.start, OF_LIMIT, limit), after(newer.start, OF_REMAINING, remaining), reset, policy, newer]
    }
}

/// Until the next full hour, rounded up.
fn seconds_left(quota: &Quota, now: Timestamp) -> u64 {
    quota.reset.as_millis().saturating_sub(now.as_millis()).div_ceil(1000)
}

fn problem(failure: &Failure, request_id: &RequestId) -> Bytes {
    let (status, detail) = words(failure);
    let problem = Problem {
        r#type: format!("urn:hokusai:problem:{}", failure.code()),
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail,
        code: failure.code(),
        request_id: request_id.as_str(),
    };
    serde_json::to_vec(&problem).expect("text and numbers are JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::AuthResult;

    #[test]
    fn the_three_families_agree() {
        let quota = Quota { limit: 1000, remaining: 999, reset: Timestamp::from_secs(7200) };
        let limits = || Limits { quota: &quota, now: Timestamp::from_millis(7_149_001) };
        let mut headers = HeaderMap::new();
        add_own(&mut headers, &RequestId::MadeUp([b'a'; 32]), Some(limits()));
        assert_eq!(headers["x-request-id"], "a".repeat(32));
        let mut of_given = HeaderMap::new();
        add_own(&mut of_given, &RequestId::Given(HeaderValue::from_static("r1")), Some(limits()));
        assert_eq!(of_given.insert(X_REQUEST_ID, headers["x-request-id"].clone()), Some(HeaderValue::from_static("r1")));
        assert_eq!(of_given, headers);
        assert_eq!(headers["x-ratelimit-limit"], "1000");
        assert_eq!(headers["x-ratelimit-remaining"], "999");
        assert_eq!(headers["x-ratelimit-reset"], "7200");
        assert_eq!(headers["ratelimit-policy"], "\"hour\";q=1000;w=3600");
        assert_eq!(headers["ratelimit"], "\"hour\";r=999;t=51");
        let mut indexed: Vec<_> =
            headers.iter().filter(|(_, value)| !value.is_sensitive()).map(|(name, _)| name.as_str()).collect();
        indexed.sort_unstable();
        assert_eq!(indexed, ["ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-reset"], "what varies is not");
    }

    #[test]
    fn the_longest_numbers_have_room() {
        let quota = Quota { limit: u64::MAX, remaining: u64::MAX, reset: Timestamp::MAX };
        let mut headers = HeaderMap::new();
        add_own(&mut headers, &RequestId::MadeUp([b'a'; 32]), Some(Limits { quota: &quota, now: Timestamp::default() }));
        assert_eq!(headers["x-ratelimit-limit"], u64::MAX.to_string());
        assert_eq!(headers["ratelimit-policy"], format!("\"hour\";q={};w=3600", u64::MAX));
    }

    #[test]
    fn without_a_limit_there_is_the_id_alone() {
        for (id, told) in
            [(RequestId::MadeUp([b'a'; 32]), "a".repeat(32)), (RequestId::Given(HeaderValue::from_static("r1")), "r1".into())]
        {
            let mut headers = HeaderMap::new();
            add_own(&mut headers, &id, None);
            assert_eq!((headers.len(), &headers["x-request-id"]), (1, &HeaderValue::try_from(told).expect("a value")));
        }
    }

    /// The handbook's table and this one are the same.
    #[test]
    fn the_handbook_names_every_code_with_its_status_and_fault() {
        let failures = [
            Failure::MissingKey,
            Failure::InvalidKey(AuthResult::Unknown),
            Failure::AmbiguousKey,
            Failure::IpNotAllowed,
            Failure::InsufficientScope("a".into()),
            Failure::RateLimited { quota: Quota { limit: 1, remaining: 0, reset: Timestamp::default() }, retry_after: 1 },
            Failure::StoreUnavailable,
            Failure::NoRoute,
            Failure::BadRequest(""),
            Failure::HeaderTooLarge,
            Failure::UriTooLong,
            Failure::BodyTooLarge,
            Failure::RequestTimeout,
            Failure::UpstreamUnreachable,
            Failure::UpstreamProtocol(""),
            Failure::UpstreamTimeout,
            Failure::Internal,
        ];
        let handbook = include_str!("../../docs/answers.md");
        let rows: Vec<&str> = handbook.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), failures.len());
        for failure in failures {
            let start = format!("| `{}` | {}", failure.code(), words(&failure).0.as_u16());
            let fault = format!("| {} |", format!("{:?}", failure.fault()).to_lowercase());
            assert!(rows.iter().any(|row| row.starts_with(&start) && row.contains(&fault)), "{start} {fault}");
        }
    }

    #[test]
    fn what_is_answered_by_hand_is_framed_exactly() {
        let wire = String::from_utf8(on_the_wire(&Failure::RequestTimeout, &RequestId::Given(HeaderValue::from_static("r1"))))
            .expect("text");
        let (head, body) = wire.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
        assert!(body.contains("\"code\":\"request_timeout\"") && body.contains("\"request_id\":\"r1\""));
    }
}
