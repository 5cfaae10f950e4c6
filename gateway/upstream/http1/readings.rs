//! This reader against hyper's: whatever it accepts, hyper reads as the same status, headers and body. It may refuse more.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::decode::Decoded;
use super::field_names::FieldNames;
use super::{Malformed, framing, parse};

/// What an answer says: status, headers, body, trailers.
type Reading = (StatusCode, HeaderMap, Vec<u8>, HeaderMap);

/// Pieces of which heads are made, good and bad.
const FIELDS: [&str; 22] = [
    "Content-Length: 5\r\n",
    "Content-Length: 05\r\n",
    "content-length:5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: \r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: Chunked \r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "X-A: 1\r\n",
    "X-A:  two words \r\n",
    "X-Empty:\r\n",
    "X-Bytes: \u{e9}\r\n",
    "X Bad: 1\r\n",
    "X-Folded: a\r\n b\r\n",
    "X-Bare: 1\n",
    "Trailer: x-sum\r\n",
];
const LINES: [&str; 9] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 404 \r\n",
    "HTTP/1.1 99 Low\r\n",
    "HTTP/1.2 200 OK\r\n",
];
const CHUNKS: [&str; 16] = [
    "5\r\nhello\r\n",
    "5\r\nhello\r\n",
    "5\r\nhello\r\n",
    "05;a=b\r\nhello\r\n",
    "5 \r\nhello\r\n",
    "5\t;a=\"b\"\r\nhello\r\n",
    "5\nhello\n",
    "5\r\nhello",
    "+5\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    "A\r\n0123456789\r\n",
    "hello",
    "0\r\n\r\n",
    "0\r\nX-Sum: 1\r\n\r\n",
    "0\r\nX-Sum : 1\r\n\r\n",
    "ffffffffffffffffff\r\nhello\r\n",
];

fn ours(method: &Method, wire: &[u8]) -> Result<Option<Reading>, Malformed> {
    let mut unread = BytesMut::from(wire);
    let head = loop {
        match parse::head(&mut unread, &mut FieldNames::default(), &mut HeaderMap::new())? {
            None => return Ok(None),
            Some(head) if head.status.is_informational() => {}
            Some(head) => break head,
        }
    };
    let mut decoder = framing::of_answer(method, &head)?;
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.decode(&mut unread)? {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::Trailers(fields) => trailers = fields,
            Decoded::End => return Ok(Some((head.status, head.headers, body, trailers))),
            Decoded::Starved => decoder.close()?,
        }
    }
}

async fn hypers(method: Method, wire: Vec<u8>) -> Result<Reading, hyper::Error> {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await?;
    let answering = async move {
        // An answer to no request would be refused as such.
        let mut scrap = [0; 1024];
        assert!(far.read(&mut scrap).await.expect("a duplex can be read") > 0);
        far.write_all(&wire).await.expect("a duplex has room");
    };
    let asking = async move {
        let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).expect("a request");
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok((head.status, end_to_end(head.headers), body.to_bytes().to_vec(), trailers))
    };
    let (read, _, ()) = tokio::join!(asking, connection, answering);
    read
}

/// What ends with the connection is no part of what is compared.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [CONNECTION, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

fn agree(method: &Method, wire: &[u8]) -> bool {
    let Ok(Some(ours)) = ours(method, wire) else { return false };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let hypers = runtime.block_on(hypers(method.clone(), wire.to_vec()));
    assert_eq!(ours, hypers.expect("hyper reads what this reads"), "{:?}", String::from_utf8_lossy(wire));
    true
}

fn wire() -> impl Strategy<Value = Vec<u8>> {
    let any_of = |pieces: &'static [&'static str], most| {
        proptest::collection::vec(proptest::sample::select(pieces), 0..most).prop_map(|pieces| pieces.concat())
    };
    // Most good answers have one framing, which picking fields at random would seldom give.
    let framing = proptest::sample::select(&["", "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"][..]);
    let head = (proptest::sample::select(&LINES[..]), framing, any_of(&FIELDS, 3));
    let body = (any_of(&CHUNKS, 4), proptest::sample::select(&["", "0\r\n\r\n", "0\r\nx-sum: 1\r\n\r\n"][..]));
    (head, body)
        .prop_map(|((line, framing, fields), (chunks, end))| format!("{line}{framing}{fields}\r\n{chunks}{end}").into_bytes())
}

/// One byte in one place, now and then.
fn mutation() -> impl Strategy<Value = Option<(prop::sample::Index, u8)>> {
    proptest::option::of((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), proptest::sample::select(&b"\r\n :;,0\0"[..])]))
}

fn method() -> impl Strategy<Value = Method> {
    proptest::sample::select(vec![Method::GET, Method::GET, Method::POST, Method::HEAD])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_read_here_hyper_reads_the_same(method in method(), mut wire in wire(), mutation in mutation()) {
        if let Some((place, byte)) = mutation {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        agree(&method, &wire);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ours(&Method::GET, &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &wire[..]].concat());
        let _ = ours(&Method::GET, &wire);
    }
}

/// A comparison that never compares would pass for ever.
#[test]
fn good_answers_are_compared() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil close",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ] {
        assert!(agree(&Method::GET, answer.as_bytes()), "{answer}");
    }
}
