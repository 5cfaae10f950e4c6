//! gRPC: which requests are of it, and what its clients understand as the gateway's own answers.
//!
//! What must stay true here: an answer of ours to a gRPC request has no body: its status stands in its only head, where a
//! client looks for it.

use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::answer_body::AnswerBody;
use super::failure::Failure;
use super::respond;
use crate::upstream::http1;

const GRPC: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// All but visible ASCII, and `%` itself.
const NO_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Of a request or an answer: `application/grpc`, alone or with a `+format` or parameters. gRPC-Web is another protocol.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    let (start, rest) = kind.split_at(kind.len().min(GRPC.len()));
    start.eq_ignore_ascii_case(GRPC.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Until when the client of a call that arrived at `arrived` waits for its answer; `None` where it did not say.
pub fn deadline(headers: &HeaderMap, arrived: Instant) -> Option<Instant> {
    arrived.checked_add(timeout(headers.get(GRPC_TIMEOUT)?.as_bytes())?)
}

/// One to eight digits and a unit.
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last().filter(|(_, digits)| digits.len() <= 8)?;
    let count = http1::digits(digits)?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The same refusal for a gRPC client; `headers` are those of the answer that others would get.
pub fn answer(failure: &Failure, mut headers: HeaderMap) -> Response<AnswerBody> {
    let (_, detail) = respond::words(failure);
    let message = utf8_percent_encode(detail, NO_MESSAGE).to_string();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert(GRPC_STATUS, HeaderValue::from(status(failure)));
    headers.insert(GRPC_MESSAGE, HeaderValue::try_from(message).expect("what is percent-encoded is visible ASCII"));
    let mut response = Response::new(AnswerBody::Empty);
    *response.headers_mut() = headers;
    response
}

/// The code of <https://grpc.github.io/grpc/core/md_doc_statuscodes.html> that says the same.
const fn status(failure: &Failure) -> u16 {
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match failure {
        Failure::MissingKey | Failure::InvalidKey(_) => UNAUTHENTICATED,
        Failure::IpNotAllowed | Failure::InsufficientScope(_) => PERMISSION_DENIED,
        Failure::RateLimited { .. }
        | Failure::TooFast
        | Failure::TooManyAtOnce
        | Failure::BodyTooLarge
        | Failure::HeaderTooLarge
        | Failure::UriTooLong => RESOURCE_EXHAUSTED,
        Failure::NoRoute | Failure::MethodNotAllowed => UNIMPLEMENTED,
        Failure::RequestTimeout | Failure::UpstreamTimeout => DEADLINE_EXCEEDED,
        Failure::StoreUnavailable | Failure::UpstreamUnreachable | Failure::UpstreamProtocol(_) => UNAVAILABLE,
        Failure::AmbiguousKey | Failure::BadRequest(_) | Failure::Internal => INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))])
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for kind in ["application/grpc", "application/grpc+proto", "Application/gRPC;a=b", "application/grpc ; a=b"] {
            assert!(is_grpc(&headers(kind)), "{kind}");
        }
        for kind in ["application/grpc-web", "application/grpc-web+proto", "application/grp", "text/plain", ""] {
            assert!(!is_grpc(&headers(kind)), "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, millis) in
            [("5S", 5000), ("0m", 0), ("1H", 3_600_000), ("2M", 120_000), ("99999999u", 99_999), ("1000000n", 1)]
        {
            assert_eq!(timeout(text.as_bytes()).map(|timeout| timeout.as_millis()), Some(millis), "{text}");
        }
        for text in ["", "S", "5", "5s", "-1S", "+1S", "123456789S", "1 S", "1.5S"] {
            assert_eq!(timeout(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_a_message_cannot_hold_is_percent_encoded() {
        let answer = answer(&Failure::BadRequest("50 % café"), headers("application/problem+json"));
        assert_eq!(answer.headers()[GRPC_MESSAGE], "50 %25 caf%C3%A9");
        assert_eq!((answer.status().as_u16(), &answer.headers()[CONTENT_TYPE]), (200, &HeaderValue::from_static(GRPC)));
    }
}
