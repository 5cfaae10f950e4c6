//! The `Forwarded` header (RFC 7239).
//!
//! What must stay true here: elements are told apart from the right. What a trusted proxy appended is found whatever stands left of
//! it, a quotation that a client opened and never closed included.

use std::net::{IpAddr, Ipv6Addr};

/// The elements of one line, the last one first.
pub fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(line);
    std::iter::from_fn(move || {
        let rest = left?;
        let comma = last_comma(rest);
        left = comma.map(|at| &rest[..at]);
        Some(&rest[comma.map_or(0, |at| at + 1)..])
    })
}

/// The last comma outside of quotes. A quote after an odd number of backslashes is text.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(line, at) => is_quoted = !is_quoted,
            b',' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_escaped(line: &[u8], at: usize) -> bool {
    line[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// Whom an element was written for. `None`: it does not say, or says `unknown`, or a name that only its writer understands.
pub fn address(element: &[u8]) -> Option<IpAddr> {
    let node = parameter(element, "for")?;
    let address = match node.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(address.parse::<Ipv6Addr>().ok().filter(|_| is_port)?)
        }
        None => match node.split_once(':') {
            Some((address, port)) => IpAddr::V4(address.parse().ok().filter(|_| is_port(port))?),
            None => IpAddr::V4(node.parse().ok()?),
        },
    };
    Some(address.to_canonical())
}

/// Digits, or a name that only its writer understands.
fn is_port(text: &str) -> bool {
    let is_obfuscated =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    text.parse::<u16>().is_ok() || text.strip_prefix('_').is_some_and(is_obfuscated)
}

/// The value of a parameter, without its quotes; `None` where the element does not have it, has it twice, or is malformed.
pub fn parameter(element: &[u8], name: &str) -> Option<String> {
    let mut found = None;
    let mut rest = std::str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        if key.eq_ignore_ascii_case(name) && found.replace(value).is_some() {
            return None;
        }
        if after.is_empty() {
            return found;
        }
        rest = after.strip_prefix(';')?;
    }
}

/// A quoted text or a plain one, and what follows. A plain one may hold `:`, `[` and `]`, which some proxies leave unquoted.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, _) = text.split_once(';').unwrap_or((text, ""));
        let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\,=".contains(&byte));
        return is_plain.then(|| (value.to_owned(), &text[value.len()..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// What the gateway says of its peer.
pub fn element_for(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(line: &str) -> Vec<String> {
        elements(line.as_bytes()).map(|element| address(element).map_or("?".to_owned(), |known| known.to_string())).collect()
    }

    #[test]
    fn the_forms_of_the_standard_are_understood() {
        for (element, expected) in [
            ("for=192.0.2.43", "192.0.2.43"),
            ("For=192.0.2.43;proto=http;by=203.0.113.43", "192.0.2.43"),
            ("by=203.0.113.43;host=\"a;b,c\";for=\"192.0.2.43:80\"", "192.0.2.43"),
            ("for=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]:_sec-ret.1\"", "2001:db8:cafe::17"),
            ("for=\"[::ffff:192.0.2.43]\"", "192.0.2.43"),
            ("for=192.0.2.43:80", "192.0.2.43"),
            (" for=192.0.2.43\t", "192.0.2.43"),
            ("for=\"1\\92.0.2.43\"", "192.0.2.43"),
        ] {
            assert_eq!(addresses_of(element), expected, "{element}");
        }
    }

    fn addresses_of(element: &str) -> String {
        address(element.as_bytes()).map_or("?".to_owned(), |known| known.to_string())
    }

    #[test]
    fn who_is_not_told_or_not_readable_is_nobody() {
        for element in [
            "",
            "for",
            "for=",
            "for=unknown",
            "for=_hidden",
            "for=\"_hidden:80\"",
            "for=192.0.2",
            "for=2001:db8::1",
            "for=\"2001:db8::1\"",
            "for=\"[2001:db8::1\"",
            "for=\"[2001:db8::1]80\"",
            "for=\"[192.0.2.1]\"",
            "for=\"192.0.2.1:\"",
            "for=\"192.0.2.1:99999\"",
            "for=\"192.0.2.1:_\"",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;",
            "for=192.0.2.1 by=a",
            "for = 192.0.2.1",
            "proto=https",
            "192.0.2.1",
            "for=\"192.0.2.1\\",
        ] {
            assert_eq!(addresses_of(element), "?", "{element}");
        }
    }

    #[test]
    fn elements_are_told_apart_from_the_right_and_outside_of_quotes() {
        assert_eq!(addresses("for=192.0.2.1, for=_a;host=\"x,y\",for=192.0.2.2"), ["192.0.2.2", "?", "192.0.2.1"]);
        assert_eq!(addresses("for=192.0.2.1;host=\"a\\\",b\", for=192.0.2.2"), ["192.0.2.2", "192.0.2.1"]);
        assert_eq!(addresses(""), ["?"]);
    }

    #[test]
    fn what_is_said_of_a_peer_reads_back_as_it() {
        for peer in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(addresses(&element_for(peer.parse().expect("an address"))), [peer]);
        }
    }

    proptest! {
        #[test]
        fn what_a_client_wrote_never_hides_what_was_appended(forged in "[ -~]{0,60}", appended in 0_usize..3) {
            let appended = ["for=192.0.2.1", "for=\"[2001:db8::1]:80\";host=\"a,\\\"b\"", "host=\"\\\\\";for=192.0.2.1"][appended];
            let line = format!("{forged}, {appended}");
            let last = elements(line.as_bytes()).next().and_then(address);
            prop_assert_eq!(last, address(appended.as_bytes()));
            prop_assert!(last.is_some());
        }
    }
}
