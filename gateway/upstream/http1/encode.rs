//! What a request looks like on the wire.
//!
//! What must stay true here: how the body is framed is said here and nowhere else, whatever stands in the headers.

use std::cell::Cell;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method};

/// Stands for a head's size until it is known: most heads fit.
const HEAD_GUESS: usize = 1024;

/// A larger one is not kept for the next head.
const ROOM_KEPT: usize = 16 * 1024;

thread_local! {
    /// What the last head of this thread was written into: the next takes no room of its own.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    None,
    /// Bytes.
    Length(u64),
    Chunked,
}

/// The head of a request, written field by field.
pub struct RequestHead {
    method: Method,
    wire: Vec<u8>,
    tells_length: bool,
    announced: Vec<HeaderName>,
}

impl RequestHead {
    pub fn new(method: Method, target: &PathAndQuery) -> Self {
        let mut wire = ROOM.take();
        wire.reserve(HEAD_GUESS);
        wire.extend_from_slice(method.as_str().as_bytes());
        // `http://host?query` has a target without a path.
        wire.extend_from_slice(if target.as_str().starts_with(['/', '*']) { b" " } else { b" /" });
        wire.extend_from_slice(target.as_str().as_bytes());
        wire.extend_from_slice(b" HTTP/1.1\r\n");
        Self { method, wire, tells_length: false, announced: Vec::new() }
    }

    /// Adds a field; `value` has been checked. What frames the body is left out: the body itself tells.
    pub fn field(&mut self, name: &HeaderName, value: &[u8]) {
        match *name {
            CONTENT_LENGTH => self.tells_length = true,
            TRANSFER_ENCODING => {}
            _ => {
                if *name == TRAILER {
                    self.announced.extend(listed(value));
                }
                put_field(&mut self.wire, name, value);
            }
        }
    }

    #[cfg(test)]
    pub fn written(&self) -> &str {
        std::str::from_utf8(&self.wire).expect("text")
    }

    pub(super) fn finish(mut self, framing: BodyFraming) -> Finished {
        match framing {
            BodyFraming::None if !self.tells_length => {}
            BodyFraming::None => put_length(&mut self.wire, 0),
            BodyFraming::Length(length) => put_length(&mut self.wire, length),
            BodyFraming::Chunked => self.wire.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        self.wire.extend_from_slice(b"\r\n");
        Finished { method: self.method, wire: self.wire, announced: self.announced }
    }
}

/// Leaves the room of a head that is not needed any more to the next.
pub(super) fn leave_room(mut wire: Vec<u8>) {
    if wire.capacity() <= ROOM_KEPT {
        wire.clear();
        ROOM.set(wire);
    }
}

pub(super) struct Finished {
    pub method: Method,
    pub wire: Vec<u8>,
    /// The trailers it announced.
    pub announced: Vec<HeaderName>,
}

/// The line before a chunk; its bytes and an empty line follow. A chunk is never empty: that would be the end.
pub fn chunk_line(length: usize) -> Bytes {
    format!("{length:x}\r\n").into()
}

/// What ends a chunked body, with those of the trailers that were announced.
pub fn last_chunk(trailers: &HeaderMap, announced: &[HeaderName]) -> Bytes {
    let mut end = b"0\r\n".to_vec();
    for (name, value) in trailers.iter().filter(|(name, _)| announced.contains(name)) {
        put_field(&mut end, name, value.as_bytes());
    }
    end.extend_from_slice(b"\r\n");
    end.into()
}

fn put_field(wire: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    wire.reserve(name.len() + value.len() + 4);
    wire.extend_from_slice(name);
    wire.extend_from_slice(b": ");
    wire.extend_from_slice(value);
    wire.extend_from_slice(b"\r\n");
}

fn put_length(wire: &mut Vec<u8>, length: u64) {
    put_field(wire, &CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
}

/// The names in a line that lists some.
fn listed(line: &[u8]) -> impl Iterator<Item = HeaderName> {
    line.split(|&byte| byte == b',').filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(target: &str, fields: &[(&'static str, &'static str)], framing: BodyFraming) -> String {
        let target = http::Uri::try_from(target).expect("a target").into_parts().path_and_query.expect("it has a path");
        let mut head = RequestHead::new(Method::PUT, &target);
        for &(name, value) in fields {
            head.field(&HeaderName::from_static(name), value.as_bytes());
        }
        String::from_utf8(head.finish(framing).wire).expect("text")
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
        let sum = HeaderName::from_static("x-sum");
        let mut trailers = HeaderMap::new();
        assert_eq!(last_chunk(&trailers, &[]), "0\r\n\r\n");
        trailers.insert(sum.clone(), http::HeaderValue::from_static("1"));
        trailers.insert("x-unannounced", http::HeaderValue::from_static("2"));
        assert_eq!(last_chunk(&trailers, &[sum]), "0\r\nx-sum: 1\r\n\r\n");
    }
}
