//! Answers of upstreams in HTTP/1. The bytes: as an upstream would send them, until it closes.

use bytes::BytesMut;
use hokusai_gateway::upstream::http1::decode::{Decoded, Decoder};
use hokusai_gateway::upstream::http1::field_names::FieldNames;
use hokusai_gateway::upstream::http1::{Malformed, framing, parse};
use http::{HeaderMap, Method, StatusCode};

use super::cuts;

/// What an answer says, and what follows it.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
    surplus: usize,
}

/// However it is cut into packets it says the same; and cut short it says nothing else.
pub fn holds(bytes: &[u8]) {
    for method in [Method::GET, Method::HEAD] {
        let whole = read(&method, &[bytes]);
        for cut in cuts(bytes.len()) {
            let (start, rest) = bytes.split_at(cut);
            let in_two = read(&method, &[start, rest]);
            assert_eq!(in_two.as_ref().ok(), whole.as_ref().ok(), "{method} cut at {cut}");
            let Ok(short) = read(&method, &[start]) else { continue };
            let Ok(whole) = &whole else { panic!("{method}: the first {cut} bytes are an answer, and all are none") };
            let is_until_close = whole.body.starts_with(&short.body) && short.surplus == 0;
            assert!(short.body == whole.body || is_until_close, "{method} short at {cut}");
            assert_eq!((short.status, &short.headers), (whole.status, &whole.headers), "{method} short at {cut}");
        }
    }
}

/// `Err(None)`: it is broken off.
fn read(method: &Method, pieces: &[&[u8]]) -> Result<Answer, Option<Malformed>> {
    let (mut unread, mut pieces) = (BytesMut::new(), pieces.iter());
    let head = loop {
        match parse::head(&mut unread, &mut FieldNames::default(), &mut HeaderMap::new())? {
            Some(head) if head.status.is_informational() => {}
            Some(head) => break head,
            None => unread.extend_from_slice(pieces.next().ok_or(None)?),
        }
    };
    let mut decoder: Decoder = framing::of_answer(method, &head)?;
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.decode(&mut unread)? {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::Trailers(fields) => trailers = fields,
            Decoded::End => break,
            Decoded::Starved => match pieces.next() {
                Some(piece) => unread.extend_from_slice(piece),
                None => decoder.close()?,
            },
        }
    }
    let surplus = unread.len() + pieces.map(|piece| piece.len()).sum::<usize>();
    Ok(Answer { status: head.status, headers: head.headers, body, trailers, surplus })
}
