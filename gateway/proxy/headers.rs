//! Which headers pass from one side to the other.
//!
//! What must stay true here: what belongs to one connection ends with it (RFC 9110 7.6.1), both ways; a client's names for
//! what is the gateway's never pass; and ours are attached after all of that, so that no `Connection` line can remove them.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

use super::client::Client;
use super::target::X_FORWARDED_PROTO;
use crate::config::{HeaderRules, Scheme};
use crate::model::address::ClientIp;
use crate::reserved_headers::ReservedHeaders;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Removes, in one pass, what is reserved and what ends here. `TE: trailers` alone may pass.
pub fn strip_request(headers: &mut HeaderMap, reserved: &ReservedHeaders) {
    let takes_trailers = headers.get_all(TE).iter().any(|te| tokens(te).any(|token| token.eq_ignore_ascii_case(b"trailers")));
    remove_named_by_connection(headers);
    remove(headers, |name| is_hop_by_hop(name) || *name == EXPECT || reserved.covers(name));
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes from an upstream's answer what ends here.
pub fn strip_response(headers: &mut HeaderMap) {
    remove_named_by_connection(headers);
    remove(headers, is_hop_by_hop);
}

/// Tells the upstream who asked, how, and for which host. What a trusted proxy said of the latter two is kept.
pub fn add_forwarding(
    headers: &mut HeaderMap,
    client: &Client,
    address: Option<ClientIp>,
    scheme: Scheme,
    peer_is_trusted: bool,
) {
    append_peer(headers, &client.peer_value);
    let real_ip = match address {
        Some(address) if address.get() != client.peer.ip() => {
            HeaderValue::from_str(&address.to_string()).expect("an address is visible ASCII")
        }
        _ => client.peer_value.clone(),
    };
    headers.insert(X_REAL_IP, real_ip);
    let proto = match scheme {
        Scheme::Http => HeaderValue::from_static("http"),
        Scheme::Https => HeaderValue::from_static("https"),
    };
    headers.insert(HeaderName::from_static(X_FORWARDED_PROTO), proto);
    if !(peer_is_trusted && headers.contains_key(X_FORWARDED_HOST)) {
        match headers.get(HOST).cloned() {
            Some(host) => headers.insert(X_FORWARDED_HOST, host),
            None => headers.remove(X_FORWARDED_HOST),
        };
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

/// All former addresses in one line, so that no upstream reads the first of several only.
fn append_peer(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut joined: Vec<u8> = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        joined.extend_from_slice(line.as_bytes());
        joined.extend_from_slice(b", ");
    }
    let value = if joined.is_empty() {
        peer.clone()
    } else {
        joined.extend_from_slice(peer.as_bytes());
        HeaderValue::from_bytes(&joined).expect("parts of valid values make a valid value")
    };
    headers.insert(X_FORWARDED_FOR, value);
}

/// In one pass, since most messages have nothing to remove.
fn remove(headers: &mut HeaderMap, is_doomed: impl Fn(&HeaderName) -> bool) {
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| is_doomed(name)).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

fn remove_named_by_connection(headers: &mut HeaderMap) {
    let names_another = |line: &HeaderValue| tokens(line).any(|token| names_header(token).is_some());
    if !headers.get_all(CONNECTION).iter().any(names_another) {
        return;
    }
    let named: Vec<HeaderName> = headers.get_all(CONNECTION).iter().flat_map(tokens).filter_map(names_header).collect();
    for name in named {
        headers.remove(name);
    }
}

/// What a token of `Connection` removes. The frame and the addressee of a message are not a connection's to remove.
fn names_header(token: &[u8]) -> Option<HeaderName> {
    const COMMON: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    if COMMON.iter().any(|common| token.eq_ignore_ascii_case(common)) {
        return None;
    }
    HeaderName::from_bytes(token).ok().filter(|name| ![HOST, CONTENT_LENGTH].contains(name))
}

fn tokens(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == TE
        || *name == UPGRADE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IdentityHeaders;
    use crate::model::address::PeerAddr;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn stripped(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let none = IdentityHeaders { user_id: None, key_id: None, key_name: None, environment: None, scopes: None };
        let mut headers = headers(lines);
        strip_request(&mut headers, &ReservedHeaders::new(&none));
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_belongs_to_the_connection_ends_with_it() {
        let lines = [
            ("connection", "keep-alive, X-Private"),
            ("connection", "x-second"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("x-private", "1"),
            ("x-second", "1"),
            ("accept", "*/*"),
        ];
        assert_eq!(stripped(&lines), ["accept"]);
    }

    #[test]
    fn te_trailers_alone_passes() {
        assert_eq!(stripped(&[("te", "gzip, trailers")]), ["te"]);
    }

    #[test]
    fn the_frame_and_the_addressee_cannot_be_removed_by_a_connection_line() {
        let lines = [("connection", "host, content-length"), ("host", "a"), ("content-length", "1")];
        assert_eq!(stripped(&lines), ["content-length", "host"]);
    }

    #[test]
    fn identity_headers_of_a_client_are_removed() {
        assert_eq!(stripped(&[("x-user-id", "root"), ("x_user_id", "root"), ("x-user", "a")]), ["x-user"]);
    }

    #[test]
    fn the_peer_is_appended_to_one_joined_line() {
        let client = Client::new(PeerAddr::new("192.0.2.7:1".parse().expect("an address")), Scheme::Http);
        let mut headers = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("host", "a"),
            ("x-forwarded-proto", "https"),
        ]);
        add_forwarding(&mut headers, &client, None, Scheme::Http, false);
        assert_eq!(headers.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["1.1.1.1, 2.2.2.2, 192.0.2.7"]);
        assert_eq!(
            (&headers["x-real-ip"], &headers["x-forwarded-host"], &headers["x-forwarded-proto"]),
            (&HeaderValue::from_static("192.0.2.7"), &HeaderValue::from_static("a"), &HeaderValue::from_static("http"))
        );
    }

    #[test]
    fn only_a_websocket_asked_for_properly_is_one() {
        assert!(asks_for_websocket(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!asks_for_websocket(&headers(&[("upgrade", "websocket")])));
        assert!(!asks_for_websocket(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])));
        assert!(!asks_for_websocket(&headers(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")])));
    }
}
