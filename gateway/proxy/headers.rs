//! Which headers of a message end with its connection, and which a route changes.
//!
//! What must stay true here: what belongs to one connection ends with it (RFC 9110 7.6.1), both ways.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue};

use crate::config::HeaderRules;

/// Removes from an upstream's answer what ends here.
pub fn strip_response(headers: &mut HeaderMap) {
    for name in names_in_connection(headers) {
        headers.remove(name);
    }
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
}

/// Applies a route's own rules: removed first, then set.
pub fn apply(rules: &HeaderRules, headers: &mut HeaderMap) {
    for name in &rules.remove {
        headers.remove(name);
    }
    for (name, value) in &rules.set {
        headers.insert(name, value.clone());
    }
}

/// Whether the client asks for a WebSocket (RFC 6455 4.1): the one protocol that a tunnel is opened for.
pub fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let upgrades =
        headers.get_all(CONNECTION).iter().any(|line| tokens(line).any(|token| token.eq_ignore_ascii_case(b"upgrade")));
    upgrades && is_websocket(headers)
}

/// Whether `Upgrade` names the WebSocket protocol and nothing else.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(UPGRADE).iter();
    let only = lines.next().filter(|_| lines.next().is_none());
    only.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What the lines of `Connection` name besides the usual: it ends with the connection (RFC 9110 7.6.1).
pub fn names_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    if !headers.contains_key(CONNECTION) {
        return Vec::new();
    }
    headers.get_all(CONNECTION).iter().flat_map(tokens).filter_map(names_header).collect()
}

/// What a token of `Connection` removes. The frame and the addressee of a message are not a connection's to remove.
fn names_header(token: &[u8]) -> Option<HeaderName> {
    const COMMON: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    if COMMON.iter().any(|common| token.eq_ignore_ascii_case(common)) {
        return None;
    }
    HeaderName::from_bytes(token).ok().filter(|name| ![HOST, CONTENT_LENGTH].contains(name))
}

pub fn tokens(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Belongs to one connection (RFC 9110 7.6.1).
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_belongs_to_the_connection_of_an_answer_ends_with_it() {
        let mut answer = headers(&[
            ("connection", "keep-alive, X-Private"),
            ("connection", "x-second"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-private", "1"),
            ("x-second", "1"),
            ("content-type", "text/plain"),
        ]);
        strip_response(&mut answer);
        assert_eq!(answer.keys().collect::<Vec<_>>(), ["content-type"]);
    }

    #[test]
    fn only_a_websocket_asked_for_properly_is_one() {
        assert!(asks_for_websocket(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!asks_for_websocket(&headers(&[("upgrade", "websocket")])));
        assert!(!asks_for_websocket(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])));
        assert!(!asks_for_websocket(&headers(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")])));
    }
}
