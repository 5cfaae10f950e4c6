//! `If-Match` (RFC 9110 13.1.1): a change only of what the caller has seen.

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::{ETAG, HeaderName, IF_MATCH};
use axum::http::request::Parts;

use super::problem::Problem;
use crate::model::key_record::KeyRecord;

/// The versions that the caller takes for current; `None`: any that is there.
pub struct IfMatch(pub Option<Vec<String>>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut versions = None;
        for line in parts.headers.get_all(IF_MATCH) {
            let line = line.to_str().map_err(|_| malformed())?.trim();
            if line != "*" {
                versions.get_or_insert_with(Vec::new).extend(tags(line)?);
            }
        }
        Ok(Self(versions))
    }
}

/// A weak tag, `W/"…"`, matches nothing.
fn tags(line: &str) -> Result<Vec<String>, Problem> {
    let strong = |tag: &str| Some(tag.strip_prefix('"')?.strip_suffix('"')?.to_owned());
    let all = line.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    all.filter(|tag| !tag.starts_with("W/")).map(|tag| strong(tag).ok_or_else(malformed)).collect()
}

fn malformed() -> Problem {
    Problem::Malformed("If-Match: entity tags are needed, in quotes, as ETag has them".to_owned())
}

/// The version of a key, as its answers carry it.
pub fn etag(record: &KeyRecord) -> [(HeaderName, HeaderValue); 1] {
    let tag = format!("\"{}\"", record.version());
    [(ETAG, HeaderValue::try_from(tag).expect("hex digits in quotes"))]
}
