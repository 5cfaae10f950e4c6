//! What a request looks like on the wire.
//!
//! What must stay true here: how the body is framed is said here and nowhere else, whatever stands in the headers.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Stands for a head's size until it is known: most heads fit.
const HEAD_GUESS: usize = 1024;

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    None,
    /// Bytes.
    Length(u64),
    Chunked,
}

pub fn head(method: &Method, target: &PathAndQuery, headers: &HeaderMap, framing: BodyFraming) -> Bytes {
    let mut head = BytesMut::with_capacity(HEAD_GUESS);
    head.put_slice(method.as_str().as_bytes());
    head.put_u8(b' ');
    // `http://host?query` has a target without a path.
    if !target.as_str().starts_with(['/', '*']) {
        head.put_u8(b'/');
    }
    head.put_slice(target.as_str().as_bytes());
    head.put_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| **name != CONTENT_LENGTH && **name != TRANSFER_ENCODING) {
        put_field(&mut head, name, value);
    }
    match framing {
        BodyFraming::None if !headers.contains_key(CONTENT_LENGTH) => {}
        BodyFraming::None => put_length(&mut head, 0),
        BodyFraming::Length(length) => put_length(&mut head, length),
        BodyFraming::Chunked => head.put_slice(b"transfer-encoding: chunked\r\n"),
    }
    head.put_slice(b"\r\n");
    head.freeze()
}

/// The line before a chunk; its bytes and an empty line follow. A chunk is never empty: that would be the end.
pub fn chunk_line(length: usize) -> Bytes {
    format!("{length:x}\r\n").into()
}

/// What ends a chunked body.
pub fn last_chunk(trailers: &HeaderMap) -> Bytes {
    if trailers.is_empty() {
        return Bytes::from_static(b"0\r\n\r\n");
    }
    let mut end = BytesMut::from(&b"0\r\n"[..]);
    for (name, value) in trailers {
        put_field(&mut end, name, value);
    }
    end.put_slice(b"\r\n");
    end.freeze()
}

fn put_field(wire: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    wire.put_slice(name.as_str().as_bytes());
    wire.put_slice(b": ");
    wire.put_slice(value.as_bytes());
    wire.put_slice(b"\r\n");
}

fn put_length(wire: &mut BytesMut, length: u64) {
    wire.put_slice(b"content-length: ");
    wire.put_slice(itoa::Buffer::new().format(length).as_bytes());
    wire.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(target: &str, fields: &[(&'static str, &'static str)], framing: BodyFraming) -> String {
        let fields = fields.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let target = http::Uri::try_from(target).expect("a target").into_parts().path_and_query.expect("it has a path");
        let head = head(&Method::PUT, &target, &fields.collect(), framing);
        String::from_utf8(head.to_vec()).expect("text")
    }

    #[test]
    fn a_head_is_the_request_line_the_fields_and_an_empty_line() {
        let head = encoded("/a?b=c", &[("host", "a"), ("accept", "*/*")], BodyFraming::None);
        assert_eq!(head, "PUT /a?b=c HTTP/1.1\r\nhost: a\r\naccept: */*\r\n\r\n");
        assert_eq!(encoded("http://a?q", &[], BodyFraming::None), "PUT /?q HTTP/1.1\r\n\r\n");
        assert_eq!(encoded("*", &[], BodyFraming::None), "PUT * HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn the_body_is_framed_once_whatever_the_fields_say() {
        let lying = [("content-length", "7"), ("transfer-encoding", "gzip")];
        assert_eq!(encoded("/", &lying, BodyFraming::None), "PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(encoded("/", &lying, BodyFraming::Length(3)), "PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\n");
        assert_eq!(encoded("/", &lying, BodyFraming::Chunked), "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    #[test]
    fn a_chunked_body_ends_with_its_trailers() {
        assert_eq!(chunk_line(255), "ff\r\n");
        assert_eq!(last_chunk(&HeaderMap::new()), "0\r\n\r\n");
        let trailers = [(HeaderName::from_static("x-sum"), HeaderValue::from_static("1"))].into_iter().collect();
        assert_eq!(last_chunk(&trailers), "0\r\nx-sum: 1\r\n\r\n");
    }
}
