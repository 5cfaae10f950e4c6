//! Who asks: the peer, or whom the trusted proxies before us name.
//!
//! What must stay true here: the header counts only from a trusted peer, and is walked from the right. The first entry that is
//! no trusted address is the client; whatever stands left of it was written by the client and is not looked at.

pub mod forwarded;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};

use crate::config::ClientAddress;
use crate::model::address::{ClientIp, PeerAddr};

/// `None` when an entry that should name the client does not parse: the client is then nobody, and no allow-list admits it.
pub fn client_address(peer: PeerAddr, headers: &HeaderMap, rules: &ClientAddress) -> Option<ClientIp> {
    if !is_trusted(peer.ip(), rules) {
        return Some(ClientIp::new(peer.ip()));
    }
    let lines = headers.get_all(&rules.header).iter().rev().map(HeaderValue::as_bytes);
    match rules.speaks_forwarded() {
        true => walk(peer, lines.flat_map(forwarded::elements).map(forwarded::address), rules),
        false => walk(peer, lines.flat_map(|line| line.rsplit(|&byte| byte == b',')).map(parse_entry), rules),
    }
}

/// Goes from the peer along whom each names, the last one first, as long as they are trusted.
fn walk(peer: PeerAddr, mut named: impl Iterator<Item = Option<IpAddr>>, rules: &ClientAddress) -> Option<ClientIp> {
    let mut client = peer.ip();
    while is_trusted(client, rules) {
        match named.next() {
            Some(next) => client = next?,
            None => break,
        }
    }
    Some(ClientIp::new(client))
}

/// Whether what this peer says of the request (its address, its scheme, its host) counts.
pub fn is_trusted(peer: IpAddr, rules: &ClientAddress) -> bool {
    rules.trusted_proxies.contains(peer)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    // A zone (`fe80::1%eth0`) says something on the machine alone that wrote it.
    let text = std::str::from_utf8(entry).ok().filter(|text| !text.contains('%'))?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())),
    };
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::model::address::IpNetSet;

    fn resolve(peer: &str, lines: &[&str]) -> Option<String> {
        let rules = ClientAddress {
            trusted_proxies: IpNetSet::parse(&["10.0.0.0/8", "fd00::/8"]).expect("networks"),
            header: http::HeaderName::from_static("x-forwarded-for"),
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
        }
        let peer = PeerAddr::new(SocketAddr::new(peer.parse().expect("an address"), 1));
        client_address(peer, &headers, &rules).map(|client| client.to_string())
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_writes() {
        assert_eq!(resolve("192.0.2.9", &["1.1.1.1"]).as_deref(), Some("192.0.2.9"));
    }

    #[test]
    fn the_first_untrusted_entry_from_the_right_is_the_client() {
        assert_eq!(resolve("10.0.0.1", &["1.1.1.1, 192.0.2.1, 10.0.0.2"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(resolve("10.0.0.1", &["1.1.1.1", "192.0.2.1", "10.0.0.2"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(resolve("fd00::1", &["2001:db8::7"]).as_deref(), Some("2001:db8::7"));
    }

    #[test]
    fn where_all_are_trusted_the_leftmost_is_the_client() {
        assert_eq!(resolve("10.0.0.1", &["10.0.0.3, 10.0.0.2"]).as_deref(), Some("10.0.0.3"));
        assert_eq!(resolve("10.0.0.1", &[]).as_deref(), Some("10.0.0.1"));
    }

    #[test]
    fn an_entry_that_does_not_parse_leaves_the_client_unknown_unless_it_stands_left_of_the_client() {
        for bad in
            ["unknown", "", "1.1.1", "1.1.1.1, ", "1.1.1.1:99999", "[::1", "1.1.1.1 2.2.2.2", "[fd00::1%1]", "[fd00::1%1]:80"]
        {
            assert_eq!(resolve("10.0.0.1", &[bad]), None, "{bad}");
        }
        assert_eq!(resolve("10.0.0.1", &["garbage, 192.0.2.1"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        for same in ["192.0.2.1:8080", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80", " 192.0.2.1\t"] {
            assert_eq!(resolve("10.0.0.1", &[same]).as_deref(), Some("192.0.2.1"), "{same}");
        }
        assert_eq!(resolve("10.0.0.1", &["[2001:db8::1]:443"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(resolve("10.0.0.1", &["[2001:db8::1]"]).as_deref(), Some("2001:db8::1"));
    }

    proptest! {
        /// Whatever a client puts in front, what the trusted proxy appended decides.
        #[test]
        fn what_the_client_wrote_never_matters(forged in "[ -~]{0,60}") {
            let line = format!("{forged}, 192.0.2.1");
            let client = resolve("10.0.0.1", &[&line]);
            prop_assert_eq!(client.as_deref(), Some("192.0.2.1"));
        }
    }
}
