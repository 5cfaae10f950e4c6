//! The head of an answer, from bytes (RFC 9112 4, 5).
//!
//! What must stay true here: a head is bounded in bytes and in fields, and its values are slices of one buffer. `readings.rs` holds that
//! hyper reads whatever is accepted here as the same.

use std::mem;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use memchr::memchr_iter;
use smallvec::SmallVec;

use super::Malformed;
use super::field_names::{self, FieldNames};
use super::hop_by_hop::HopByHop;

/// The largest head of an answer, or section of trailers.
pub const HEAD_MOST: usize = 64 * 1024;
const FIELDS_MOST: usize = 100;
/// Room in the map for what the gateway adds to an answer.
const OF_OURS: usize = 8;
const HTTP_1: &[u8] = b"HTTP/1.";
const BAD_FIELD: Malformed = Malformed("a field of the answer is malformed");
const BAD_TRAILERS: Malformed = Malformed("the trailers are malformed");

#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub version: Version,
    /// Those that go on beyond this connection.
    pub headers: HeaderMap,
    pub hop_by_hop: HopByHop,
}

/// Where each line ends, behind its line feed; most heads have fewer and need no allocation for it.
type LineEnds = SmallVec<[usize; 32]>;

/// Takes a head off the front of what was read; `None` while it is not all there. Its headers are put into `spare`, which is empty.
pub fn head(unread: &mut BytesMut, names: &mut FieldNames, spare: &mut HeaderMap) -> Result<Option<Head>, Malformed> {
    // Whoever speaks something else is not waited for.
    if unread.iter().zip(HTTP_1).any(|(is, should)| is != should) {
        return Err(Malformed("the answer is no HTTP"));
    }
    let Some(ends) = line_ends(unread)? else { return Ok(None) };
    let head = unread.split_to(ends[ends.len() - 1]).freeze();
    let (status, version) = status_line(without_end(&head[..ends[0]])).ok_or(Malformed("the answer has no status"))?;
    let (headers, hop_by_hop) = headers(&head, &ends, names, mem::take(spare))?;
    Ok(Some(Head { status, version, headers, hop_by_hop }))
}

/// A section of trailers, with the empty line that ends it; `None` while that is not there.
pub fn trailers(section: &[u8]) -> Result<Option<(usize, HeaderMap)>, Malformed> {
    let Some(ends) = line_ends(section)? else { return Ok(None) };
    let (mut trailers, mut start) = (HeaderMap::with_capacity(ends.len() - 1), 0);
    for &end in &ends {
        let line = section[start..end].strip_suffix(b"\r\n").ok_or(BAD_TRAILERS)?;
        if !line.is_empty() {
            let (name, value) = field_names::split(line).ok_or(BAD_TRAILERS)?;
            trailers.append(name, HeaderValue::from_bytes(trimmed(value)).map_err(|_| BAD_TRAILERS)?);
        }
        start = end;
    }
    Ok(Some((start, trailers)))
}

/// Of the lines up to an empty one, with that; `None` while it is not there. A line may end with a line feed alone (RFC 9112 2.2).
fn line_ends(unread: &[u8]) -> Result<Option<LineEnds>, Malformed> {
    let (mut ends, mut start) = (LineEnds::new(), 0);
    for feed in memchr_iter(b'\n', &unread[..unread.len().min(HEAD_MOST)]) {
        let is_last = without_end(&unread[start..=feed]).is_empty();
        start = feed + 1;
        ends.push(start);
        if is_last {
            return Ok(Some(ends));
        }
        // Beside the fields there is the status.
        if ends.len() > FIELDS_MOST + 1 {
            return Err(Malformed("the answer has too many fields"));
        }
    }
    match unread.len() < HEAD_MOST {
        true => Ok(None),
        false => Err(Malformed("the answer's head is too large")),
    }
}

/// `HTTP/1.1 200 OK`; the words at its end may be missing.
fn status_line(line: &[u8]) -> Option<(StatusCode, Version)> {
    let (version, rest) = match line.strip_prefix(HTTP_1)? {
        [b'1', b' ', rest @ ..] => (Version::HTTP_11, rest),
        [b'0', b' ', rest @ ..] => (Version::HTTP_10, rest),
        _ => return None,
    };
    let (code, reason) = rest.split_at_checked(3)?;
    let is_reason = reason.first().is_none_or(|first| *first == b' ') && is_text(reason);
    is_reason.then_some((StatusCode::from_bytes(code).ok()?, version))
}

fn headers(
    head: &Bytes,
    ends: &[usize],
    names: &mut FieldNames,
    mut headers: HeaderMap,
) -> Result<(HeaderMap, HopByHop), Malformed> {
    headers.reserve(ends.len() + OF_OURS);
    let mut hop_by_hop = HopByHop::default();
    // Without the status before them and the empty line behind them.
    for (number, field) in ends.windows(2).take(ends.len() - 2).enumerate() {
        let (name, value) = names.split(number, without_end(&head[field[0]..field[1]])).ok_or(BAD_FIELD)?;
        let value = trimmed(value);
        if !hop_by_hop.take(&name, value) {
            headers.append(name, HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| BAD_FIELD)?);
        } else if !is_text(value) {
            return Err(BAD_FIELD);
        }
    }
    for name in &hop_by_hop.named {
        headers.remove(name);
    }
    Ok((headers, hop_by_hop))
}

/// What a value may be made of (RFC 9110 5.5).
fn is_text(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// A line without its end.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Without the white space around it (RFC 9110 5.6.3).
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn parsed(wire: &[u8]) -> Result<Option<Head>, Malformed> {
        head(&mut BytesMut::from(wire), &mut FieldNames::default(), &mut HeaderMap::new())
    }

    #[test]
    fn a_head_is_taken_and_what_follows_is_left() {
        let mut unread = BytesMut::from(&b"HTTP/1.1 404 Not Found\r\nX-A:  1 \r\nx-a: 2\r\nEmpty:\r\n\r\nbody"[..]);
        let head =
            head(&mut unread, &mut FieldNames::default(), &mut HeaderMap::new()).expect("it is HTTP").expect("it is whole");
        assert_eq!((head.status, head.version), (StatusCode::NOT_FOUND, Version::HTTP_11));
        assert_eq!(head.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((&head.headers["empty"], &unread[..]), (&HeaderValue::from_static(""), &b"body"[..]));
    }

    #[test]
    fn what_belongs_to_the_connection_ends_with_it() {
        let fields = "Connection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Second: 1\r\nTE: trailers\r\n\
                      Transfer-Encoding: chunked\r\nUpgrade: a\r\nProxy-Connection: b\r\nconnection: x-second, content-length\r\n\
                      Content-Type: text/plain\r\nContent-Length: 1\r\n";
        let head = parsed(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()).expect("it is HTTP").expect("it is whole");
        let mut left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "content-type"]);
    }

    #[test]
    fn an_upgrade_is_to_a_websocket_where_that_alone_is_named() {
        let of = |fields: &str| parsed(format!("HTTP/1.1 101 A\r\n{fields}\r\n").as_bytes()).expect("HTTP").expect("whole");
        assert!(of("Upgrade: WebSocket\r\n").hop_by_hop.is_websocket());
        for other in ["", "Upgrade: h2c\r\n", "Upgrade: websocket, h2c\r\n", "Upgrade: websocket\r\nUpgrade: websocket\r\n"] {
            assert!(!of(other).hop_by_hop.is_websocket(), "{other}");
        }
    }

    #[test]
    fn a_head_that_is_not_all_there_is_waited_for() {
        let whole = b"HTTP/1.0 200 OK\r\nA: 1\r\n\r\n";
        for length in 0..whole.len() {
            assert!(parsed(&whole[..length]).expect("so far it is HTTP").is_none());
        }
        assert_eq!(parsed(whole).expect("it is HTTP").expect("it is whole").version, Version::HTTP_10);
    }

    #[test]
    fn what_is_no_strict_http_is_refused() {
        for wire in [
            "garbage\r\n\r\n",
            "SSH-2.0-x\r\n",
            "HTTQ",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\rA: b\r\n\r\n",
            "HTTP/1.1 200 O\0K\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 200OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\tA: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: 1\r\n\r\n",
        ] {
            assert!(parsed(wire.as_bytes()).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_in_fields() {
        let of = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        assert!(parsed(of(&"a: b\r\n".repeat(FIELDS_MOST)).as_bytes()).is_ok());
        assert!(parsed(of(&"a: b\r\n".repeat(FIELDS_MOST + 1)).as_bytes()).is_err());
        let large = of(&format!("a: {}\r\n", "x".repeat(HEAD_MOST)));
        assert!(parsed(large.as_bytes()).is_err());
        assert!(parsed(&large.as_bytes()[..HEAD_MOST]).is_err());
        assert!(parsed(&large.as_bytes()[..HEAD_MOST - 1]).is_ok_and(|head| head.is_none()));
    }
}
