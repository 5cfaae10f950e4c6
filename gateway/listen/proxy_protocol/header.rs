//! The PROXY protocol's header as bytes, versions 1 and 2 (haproxy.org, proxy-protocol.txt).
//!
//! What must stay true here: what is no header to the letter is refused, and never read as something that it resembles: whoever
//! writes here says who the client is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read, the extensions (TLVs) of version 2 included, in bytes.
pub const LONGEST: usize = 4096;

/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
const LINE: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and protocol, length.
const FIXED: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// In bytes. What follows is the client's.
    pub length: usize,
    /// Who connected to the proxy. `None`: the proxy speaks for itself, or of no internet address.
    pub source: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHeader {
    #[error("it sent something else than a PROXY protocol header")]
    SomethingElse,
    #[error("its PROXY protocol header is malformed")]
    Malformed,
    #[error("its PROXY protocol header is longer than {LONGEST} bytes")]
    TooLong,
}

/// Whether what was refused as HTTP was meant to be a header. The parser of HTTP has passed over the empty lines before it.
pub fn is_announced(refused: &[u8]) -> bool {
    refused.starts_with(LINE) || refused.trim_ascii_start().starts_with(SIGNATURE.trim_ascii_start())
}

/// The header that `bytes` begin with; `None` while there is more of it to come.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    if begins(bytes, LINE) {
        return line(bytes);
    }
    match begins(bytes, SIGNATURE) {
        true => binary(bytes),
        false => Err(NoHeader::SomethingElse),
    }
}

/// Whether `bytes`, as far as they are there, are the beginning of `start` or go on after it.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, other)| one == other)
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 51234 443\r\n`
fn line(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let start = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = start.windows(2).position(|pair| pair == b"\r\n") else {
        return if start.len() < LONGEST_LINE { Ok(None) } else { Err(NoHeader::Malformed) };
    };
    let text = std::str::from_utf8(&start[..end]).map_err(|_| NoHeader::Malformed)?;
    let words: Vec<&str> = text.split(' ').collect();
    let source = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, from_port, to_port] => Some(ends::<Ipv4Addr>([from, to], [from_port, to_port])?),
        ["PROXY", "TCP6", from, to, from_port, to_port] => Some(ends::<Ipv6Addr>([from, to], [from_port, to_port])?),
        _ => return Err(NoHeader::Malformed),
    };
    Ok(Some(Header { length: end + 2, source }))
}

/// The first of two ends, once both are right.
fn ends<A: std::str::FromStr + Into<IpAddr>>(addresses: [&str; 2], ports: [&str; 2]) -> Result<SocketAddr, NoHeader> {
    let address = |text: &str| text.parse::<A>().map_err(|_| NoHeader::Malformed);
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text).ok_or(NoHeader::Malformed);
    let ([from, _], [from_port, _]) = ([address(addresses[0])?, address(addresses[1])?], [port(ports[0])?, port(ports[1])?]);
    Ok(SocketAddr::new(from.into(), from_port))
}

/// Version 2: a fixed part that tells the length of the rest, the two ends, extensions.
fn binary(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > LONGEST {
        return Err(NoHeader::TooLong);
    }
    let Some(told) = rest.get(..length) else { return Ok(None) };
    let source = match version_and_command {
        // LOCAL, as in a proxy's own health checks: whatever stands there means nothing.
        0x20 => None,
        0x21 => source(family, told)?,
        _ => return Err(NoHeader::Malformed),
    };
    Ok(Some(Header { length: FIXED + length, source }))
}

/// The client's end of a stream: addresses first, then ports, all in network order.
fn source(family: u8, told: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    match family {
        // Unspecified.
        0x00 => Ok(None),
        0x11 => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *told.first_chunk::<12>().ok_or(NoHeader::Malformed)?;
            Ok(Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()))
        }
        0x21 => {
            let ends = told.first_chunk::<36>().ok_or(NoHeader::Malformed)?;
            let address = Ipv6Addr::from(*ends.first_chunk::<16>().expect("36 bytes hold 16"));
            Ok(Some((address, u16::from_be_bytes([ends[32], ends[33]])).into()))
        }
        // A Unix socket: two names of 108 bytes.
        0x31 if told.len() >= 216 => Ok(None),
        _ => Err(NoHeader::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, told: &[u8]) -> Vec<u8> {
        let length = u16::try_from(told.len()).expect("a test tells little");
        [SIGNATURE, &[command, family], &length.to_be_bytes(), told].concat()
    }

    const ENDS: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0xC8, 0x22, 1, 0xBB];

    fn source_of(bytes: &[u8]) -> Option<String> {
        let header = parse(bytes).expect("a header").expect("the whole header");
        assert_eq!(header.length, bytes.len());
        header.source.map(|source| source.to_string())
    }

    #[test]
    fn the_source_is_told_by_both_versions() {
        let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 51234 443\r\n";
        assert_eq!(source_of(line).as_deref(), Some("192.0.2.1:51234"));
        assert_eq!(source_of(b"PROXY TCP6 2001:db8::1 ::1 51234 443\r\n").as_deref(), Some("[2001:db8::1]:51234"));
        assert_eq!(source_of(&binary(0x21, 0x11, &ENDS)).as_deref(), Some("192.0.2.1:51234"));
        let with_extensions = [&ENDS[..], &[0x04, 0, 2, 1, 2]].concat();
        assert_eq!(source_of(&binary(0x21, 0x11, &with_extensions)).as_deref(), Some("192.0.2.1:51234"));
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 80, 0, 81]].concat();
        assert_eq!(source_of(&binary(0x21, 0x21, &v6)).as_deref(), Some("[::1]:80"));
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_or_of_no_internet_address_tells_no_source() {
        assert_eq!(source_of(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source_of(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), None);
        assert_eq!(source_of(&binary(0x20, 0x11, &ENDS)), None, "LOCAL");
        assert_eq!(source_of(&binary(0x20, 0xFF, &[])), None, "LOCAL, whatever stands there");
        assert_eq!(source_of(&binary(0x21, 0x00, &[1, 2, 3])), None, "unspecified");
        assert_eq!(source_of(&binary(0x21, 0x31, &[0; 216])), None, "a Unix socket");
    }

    #[test]
    fn what_resembles_a_header_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 51234\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 51234 443 9\r\n",
            "PROXY TCP4 192.0.2.1  10.0.0.1 51234 443\r\n",
            "PROXY TCP4 ::1 10.0.0.1 51234 443\r\n",
            "PROXY TCP4 192.0.2.1 nobody 51234 443\r\n",
            "PROXY TCP4 192.0.2.01 10.0.0.1 51234 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +5 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 051 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 51234 443\n\r\n",
            "PROXY TCP6 192.0.2.1 ::1 51234 443\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 51234 443\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(NoHeader::Malformed), "{line}");
        }
        let endless = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE));
        assert_eq!(parse(endless.as_bytes()), Err(NoHeader::Malformed));
        for (command, family) in
            [(0x22, 0x11), (0x11, 0x11), (0x31, 0x11), (0x21, 0x12), (0x21, 0x41), (0x21, 0x21), (0x21, 0x31)]
        {
            assert_eq!(parse(&binary(command, family, &ENDS)), Err(NoHeader::Malformed), "{command:x} {family:x}");
        }
        assert_eq!(parse(&binary(0x21, 0x11, &ENDS[..11])), Err(NoHeader::Malformed));
        assert_eq!(parse(&binary(0x21, 0x11, &[0; LONGEST])), Err(NoHeader::TooLong));
        for other in ["GET / HTTP/1.1\r\n", "proxy TCP4", "\r\n\r\nG", "\x16\x03\x01"] {
            assert_eq!(parse(other.as_bytes()), Err(NoHeader::SomethingElse), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(start in 0_usize..3, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&[[SIGNATURE, LINE, b""][start], &rest].concat());
        }

        /// However a header is cut into packets, it is read the same, and nothing of what follows belongs to it.
        #[test]
        fn every_part_of_a_header_waits_for_the_rest(
            source in any::<std::net::SocketAddrV4>(), is_binary: bool, cut in 0_usize..120, follows in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            let port = source.port().to_be_bytes();
            let header = match is_binary {
                true => binary(0x21, 0x11, &[&source.ip().octets()[..], &[10, 0, 0, 1], &port, &[0, 80]].concat()),
                false => format!("PROXY TCP4 {} 10.0.0.1 {} 80\r\n", source.ip(), source.port()).into_bytes(),
            };
            let cut = cut % header.len();
            prop_assert_eq!(parse(&header[..cut]), Ok(None));
            let whole = Header { length: header.len(), source: Some(source.into()) };
            prop_assert_eq!(parse(&[&header[..], &follows].concat()), Ok(Some(whole)));
        }
    }
}
