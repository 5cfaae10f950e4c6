//! The head of an answer, from bytes.
//!
//! What must stay true here: a head is bounded in bytes and in fields, and its values are slices of one buffer.

use std::mem::{self, MaybeUninit};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use httparse::{Header, ParserConfig, Response, Status};
use smallvec::SmallVec;

use super::Malformed;
use super::field_names::FieldNames;
use super::hop_by_hop::HopByHop;

/// The largest head of an answer.
pub const HEAD_MOST: usize = 64 * 1024;
const FIELDS_MOST: usize = 100;
/// As many are noted without an allocation.
const FIELDS_MOSTLY: usize = 32;
/// Room in the map for what the gateway adds to an answer.
const OF_OURS: usize = 8;

#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub version: Version,
    /// Those that go on beyond this connection.
    pub headers: HeaderMap,
    pub hop_by_hop: HopByHop,
}

/// Where a field stands in the buffer: name and value, each as start and end.
type Place = [u32; 4];

/// Takes a head off the front of what was read; `None` while it is not all there. Its headers are put into `spare`, which is empty.
pub fn head(unread: &mut BytesMut, names: &mut FieldNames, spare: &mut HeaderMap) -> Result<Option<Head>, Malformed> {
    if unread.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MOST];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, unread, &mut fields);
    let length = match parsed.map_err(|_| Malformed("the answer is no HTTP"))? {
        Status::Complete(length) if length <= HEAD_MOST => length,
        Status::Partial if unread.len() < HEAD_MOST => return Ok(None),
        Status::Complete(_) | Status::Partial => return Err(Malformed("the answer's head is too large")),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed("the answer has no status"))?;
    let version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let places: SmallVec<[Place; FIELDS_MOSTLY]> = response.headers.iter().map(|field| place_of(field, unread)).collect();
    let head = unread.split_to(length).freeze();
    let (headers, hop_by_hop) = headers(&head, &places, names, mem::take(spare))?;
    Ok(Some(Head { status, version, headers, hop_by_hop }))
}

/// A section of trailers, with the empty line that ends it; `None` while that is not there.
pub fn trailers(section: &[u8]) -> Result<Option<(usize, HeaderMap)>, Malformed> {
    const BAD: Malformed = Malformed("the trailers are malformed");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MOST];
    let Status::Complete((length, fields)) = httparse::parse_headers(section, &mut fields).map_err(|_| BAD)? else {
        return Ok(None);
    };
    if section[..length].split_inclusive(|&byte| byte == b'\n').any(|line| !line.ends_with(b"\r\n")) {
        return Err(BAD);
    }
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BAD)?;
        trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| BAD)?);
    }
    Ok(Some((length, trailers)))
}

fn headers(
    head: &Bytes,
    places: &[Place],
    names: &mut FieldNames,
    mut headers: HeaderMap,
) -> Result<(HeaderMap, HopByHop), Malformed> {
    const BAD: Malformed = Malformed("a field of the answer's head is malformed");
    headers.reserve(places.len() + OF_OURS);
    let mut hop_by_hop = HopByHop::default();
    for (number, place) in places.iter().enumerate() {
        let [name_start, name_end, start, end] = place.map(|at| at as usize);
        let name = names.name(number, &head[name_start..name_end]).map_err(|_| BAD)?;
        if !hop_by_hop.take(&name, &head[start..end]) {
            headers.append(name, HeaderValue::from_maybe_shared(head.slice(start..end)).map_err(|_| BAD)?);
        }
    }
    for name in &hop_by_hop.named {
        headers.remove(name);
    }
    Ok((headers, hop_by_hop))
}

fn place_of(field: &Header<'_>, unread: &[u8]) -> Place {
    let start = |part: &[u8]| part.as_ptr().addr() - unread.as_ptr().addr();
    let name = start(field.name.as_bytes());
    // An empty value may stand anywhere.
    let value = if field.value.is_empty() { name } else { start(field.value) };
    let ends = [name, name + field.name.len(), value, value + field.value.len()];
    ends.map(|at| u32::try_from(at).expect("HEAD_MOST fits 32 bits"))
}

#[cfg(test)]
mod tests {
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
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: a\0b\r\n\r\n",
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
