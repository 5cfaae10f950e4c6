//! Who asks, by `X-Forwarded-For` and by `Forwarded`. The bytes: a header on each line.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use hokusai_gateway::client_address::{client_address, forwarded};
use hokusai_gateway::config::ClientAddress;
use hokusai_gateway::model::address::{ClientIp, IpNetSet, PeerAddr};
use http::{HeaderMap, HeaderName, HeaderValue};

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
static TRUSTED: LazyLock<IpNetSet> = LazyLock::new(|| IpNetSet::parse(&["10.0.0.0/8", "fd00::/8"]).expect("networks"));

/// As somebody would write it who is not in a hurry: all lines joined, cut at commas, walked from the right.
pub fn holds_for_x_forwarded_for(bytes: &[u8]) {
    let Some(lines) = lines(bytes) else { return };
    let joined = lines.join(&b","[..]);
    let entries = joined.split(|&byte| byte == b',').rev().map(|entry| std::str::from_utf8(entry).ok().and_then(written));
    let mut expected = Some(PROXY);
    for entry in entries {
        match expected {
            Some(address) if TRUSTED.contains(address) => expected = entry,
            _ => break,
        }
    }
    assert_eq!(client(PROXY, "x-forwarded-for", &lines), expected);
    nobody_else_is_believed("x-forwarded-for", &lines);
}

pub fn holds_for_forwarded(bytes: &[u8]) {
    let Some(lines) = lines(bytes) else { return };
    let told = client(PROXY, "forwarded", &lines);
    // What a trusted proxy appends counts, whatever stands left of it; and another one appended changes nothing.
    for (appended, expected) in
        [("for=192.0.2.1", Some(IpAddr::from([192, 0, 2, 1]))), ("for=\"10.9.9.9:80\";host=\"a,b\"", told)]
    {
        let mut longer = lines.clone();
        let last = longer.pop().unwrap_or_default();
        longer.push([&last, &b", "[..], appended.as_bytes()].concat());
        assert_eq!(client(PROXY, "forwarded", &longer), expected, "in one line");
        let own_line = [&lines[..], &[appended.as_bytes().to_vec()]].concat();
        assert_eq!(client(PROXY, "forwarded", &own_line), expected, "in a line of its own");
    }
    for line in &lines {
        if let Some(elements) = read_from_the_left(line) {
            assert!(forwarded::elements(line).eq(elements.into_iter().rev()));
        }
    }
    nobody_else_is_believed("forwarded", &lines);
}

fn nobody_else_is_believed(header: &str, lines: &[Vec<u8>]) {
    let stranger = IpAddr::from([192, 0, 2, 9]);
    assert_eq!(client(stranger, header, lines), Some(stranger));
}

/// `None`: not all of them are values of a header.
fn lines(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
    lines.map(|line| HeaderValue::from_bytes(&line).is_ok().then_some(line)).collect()
}

fn client(peer: IpAddr, header: &str, lines: &[Vec<u8>]) -> Option<IpAddr> {
    let header = HeaderName::from_bytes(header.as_bytes()).expect("a name");
    let value = |line: &Vec<u8>| (header.clone(), HeaderValue::from_bytes(line).expect("a value"));
    let headers: HeaderMap = lines.iter().map(value).collect();
    let rules = ClientAddress { trusted_proxies: TRUSTED.clone(), header };
    client_address(PeerAddr::new(SocketAddr::new(peer, 1)), &headers, &rules).map(ClientIp::get)
}

/// An address, with or without a port, with or without brackets where it is of version 6; of no zone.
fn written(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim_matches([' ', '\t']);
    let in_brackets = format!("{entry}:1").parse::<SocketAddr>().ok().filter(|_| entry.ends_with(']'));
    let with_port = entry.parse::<SocketAddr>().ok().or(in_brackets);
    let address = with_port.map(|address| address.ip()).or_else(|| entry.parse().ok())?;
    (!entry.contains('%')).then(|| address.to_canonical())
}

/// The elements as the standard has them; `None` where a quotation is not closed or a backslash stands outside of one.
fn read_from_the_left(line: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut elements, mut start, mut is_quoted) = (Vec::new(), 0, false);
    let mut bytes = line.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (byte, is_quoted) {
            (b'"', _) => is_quoted = !is_quoted,
            (b'\\', true) => drop(bytes.next()?),
            (b'\\', false) => return None,
            (b',', false) => {
                elements.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    elements.push(&line[start..]);
    (!is_quoted).then_some(elements)
}
