//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that may be sent again until its answer is heard.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;

use super::Api;
use super::caller::SOURCES;
use super::problem::Problem;
use crate::auth::extract::{self, Presented};
use crate::clock;
use crate::keyring::once::Request;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Characters. A UUID has 36.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=255;

/// By which a repetition is known; `None`: the request is to have its effect each time.
pub struct Idempotency(pub Option<Request>);

impl FromRequestParts<Arc<Api>> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let mut lines = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let (Some(line), another) = (lines.next(), lines.next()) else { return Ok(Self(None)) };
        // A string of structured fields (RFC 8941) has quotes, and many clients leave them out.
        let name = line.to_str().unwrap_or_default().trim().trim_matches('"');
        if another.is_some() || !LENGTHS.contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Problem::Malformed(
                "Idempotency-Key: one is needed, of 16 to 255 visible characters, as a UUID".to_owned(),
            ));
        }
        let prefix = &api.config.load().keys.prefix;
        let Presented::One { credential, .. } = extract::find(&parts.headers, None, SOURCES, prefix) else {
            return Err(Problem::MissingCredential);
        };
        let path = parts.uri.path().as_bytes();
        Ok(Self(Some(Request::new(credential.expose(), [path, name.as_bytes()], clock::now()))))
    }
}

/// Told where the answer is that of an earlier request.
pub fn repeated(is_repeated: bool) -> Option<[(HeaderName, &'static str); 1]> {
    is_repeated.then_some([(HeaderName::from_static("idempotent-replayed"), "true")])
}
