//! Where the rest of a list is (RFC 8288).

use axum::http::HeaderName;
use axum::http::header::LINK;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// `path` begins behind `/api/v1`. A parameter without a value is left out.
pub fn next_page(path: &str, parameters: &[(&str, Option<&str>)]) -> [(HeaderName, String); 1] {
    let given = parameters.iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let encoded = given.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    let query = encoded.collect::<Vec<_>>().join("&");
    [(LINK, format!("</api/v1{path}?{query}>; rel=\"next\""))]
}
