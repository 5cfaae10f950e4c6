//! Requests that are malformed (RFC 9113 8).

use super::case::Expected::{ConnectionError, StreamError};
use super::case::{Case, Expected, case, data, fields, get_block, post, whole};
use crate::support::raw_http2::{END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, PUSH_PROMISE, block, frame};

const MALFORMED: Expected = StreamError(PROTOCOL_ERROR);

pub fn cases() -> Vec<Case> {
    [header_fields(), pseudo_fields(), bodies()].concat()
}

fn get_with(name: &'static str, more: &[(&str, &str)]) -> Case {
    case(name, whole(block(&[&fields("GET"), more].concat())), MALFORMED)
}

fn header_fields() -> Vec<Case> {
    let after_a_field = [&[("x-test", "ok")][..], &fields("GET")].concat();
    vec![
        get_with("http2/8.1.2/1 a name in upper case", &[("X-TEST", "ok")]),
        get_with("http2/8.1.2.1/1 an unknown pseudo field", &[(":test", "ok")]),
        get_with("http2/8.1.2.1/2 a pseudo field of answers", &[(":status", "200")]),
        case("http2/8.1.2.1/4 pseudo fields after another", whole(block(&after_a_field)), MALFORMED),
        get_with("http2/8.1.2.2/1 a field of the connection", &[("connection", "keep-alive")]),
        get_with("http2/8.1.2.2/2 te of more than trailers", &[("trailers", "test"), ("te", "trailers, deflate")]),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    let without = |name, left_out: &str| {
        let rest: Vec<_> = fields("GET").into_iter().filter(|(field, _)| *field != left_out).collect();
        case(name, whole(block(&rest)), MALFORMED)
    };
    let no_path: Vec<_> =
        fields("GET").into_iter().map(|(name, value)| (name, if name == ":path" { "" } else { value })).collect();
    vec![
        case("http2/8.1.2.3/1 an empty :path", whole(block(&no_path)), MALFORMED),
        without("http2/8.1.2.3/2 no :method", ":method"),
        without("http2/8.1.2.3/3 no :scheme", ":scheme"),
        without("http2/8.1.2.3/4 no :path", ":path"),
        get_with("http2/8.1.2.3/5 :method twice", &[(":method", "GET")]),
        get_with("http2/8.1.2.3/6 :scheme twice", &[(":scheme", "http")]),
        get_with("http2/8.1.2.3/7 another :method", &[(":method", "/")]),
    ]
}

fn bodies() -> Vec<Case> {
    let trailers = |fields| frame(HEADERS, END_HEADERS, 1, block(&[fields]));
    let begun = [post(&[]), data(0, "test")].concat();
    let with_length = post(&[("content-length", "1")]);
    let promise = [&3_u32.to_be_bytes()[..], &get_block()].concat();
    vec![
        case("http2/8.1/1 a second head that is not the end", [begun.clone(), trailers(("x-test", "ok"))].concat(), MALFORMED),
        case("http2/8.1.2.1/3 a pseudo field in trailers", [begun, trailers((":method", "POST"))].concat(), MALFORMED),
        case(
            "http2/8.1.2.6/1 DATA of another length than told",
            [&with_length[..], &data(END_STREAM, "test")].concat(),
            MALFORMED,
        ),
        case(
            "http2/8.1.2.6/2 DATA in pieces of another length than told",
            [&with_length[..], &data(0, "test"), &data(END_STREAM, "test")].concat(),
            MALFORMED,
        ),
        case("http2/8.2/1 PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, promise), ConnectionError(PROTOCOL_ERROR)),
    ]
}
