//! What a host may be called.

use std::net::Ipv6Addr;

/// A name or an IPv4 address: letters, digits, `-` and `_` in labels of 1 to 63, at most 253 in all (RFC 1035 2.3.4; `_` as it is in use).
pub(super) fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The address in `[…]`.
pub(super) fn bracketed(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Host and port, as far as there is one; the colons of an address in brackets are its own.
pub(super) fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// 1 to 65535, in digits alone.
pub(super) fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&port| port != 0 && !text.starts_with('+'))
}
