//! Which headers of a message end with its connection, and which a route changes.
//!
//! What must stay true here: what belongs to one connection ends with it (RFC 9110 7.6.1), both ways.

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, UPGRADE};

use crate::config::HeaderRules;
use crate::upstream::http1::{names_header, tokens};

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
    let mut lines = headers.get_all(CONNECTION).iter();
    if !lines.any(|line| tokens(line.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"upgrade"))) {
        return false;
    }
    let mut lines = headers.get_all(UPGRADE).iter();
    let only = lines.next().filter(|_| lines.next().is_none());
    only.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What the lines of `Connection` name besides the usual: it ends with the connection (RFC 9110 7.6.1).
pub fn names_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    if !headers.contains_key(CONNECTION) {
        return Vec::new();
    }
    headers.get_all(CONNECTION).iter().flat_map(|line| tokens(line.as_bytes())).filter_map(names_header).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_a_websocket_asked_for_properly_is_one() {
        assert!(asks_for_websocket(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!asks_for_websocket(&headers(&[("upgrade", "websocket")])));
        assert!(!asks_for_websocket(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])));
        assert!(!asks_for_websocket(&headers(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")])));
    }
}
