//! What every server of HTTP/2 takes.

use super::case::Expected::{Answer, AnswerEnds, Closed, Data, Pong, Settings, SettingsAck};
use super::case::{
    Case, ENABLE_PUSH, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE,
    case, data, depends, fields, from_the_start, get, get_block, ping, post, priority, reset, settings, whole, window_update,
};
use crate::support::raw_http2::{
    CANCEL, CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PREFACE, SETTINGS as SETTINGS_FRAME, WITH_PRIORITY,
    block, frame, setting,
};

const PAYLOAD: [u8; 8] = *b"h2spec\0\0";
const EXCLUSIVE: u32 = 1 << 31;

pub fn cases() -> Vec<Case> {
    [connections(), streams(), priorities(), frames(), requests(), hpack()].concat()
}

fn connections() -> Vec<Case> {
    let all_settings = [
        setting(HEADER_TABLE_SIZE, 4096),
        setting(ENABLE_PUSH, 1),
        setting(MAX_CONCURRENT_STREAMS, 100),
        setting(INITIAL_WINDOW_SIZE, 65535),
        setting(MAX_FRAME_SIZE, 16384),
        setting(MAX_HEADER_LIST_SIZE, 100),
    ];
    vec![
        from_the_start("generic/1/1 a preface", [PREFACE, &settings(INITIAL_WINDOW_SIZE, 65535)].concat(), Settings),
        case("generic/3.5/1 SETTINGS", frame(SETTINGS_FRAME, 0, 0, all_settings.concat()), SettingsAck),
        case("generic/3.7/1 PING", ping(PAYLOAD), Pong(PAYLOAD)),
        case("generic/3.8/1 GOAWAY", frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0h2spec"), Closed),
        case("generic/3.9/1 WINDOW_UPDATE of the connection", [window_update(0, 1), ping(PAYLOAD)].concat(), Pong(PAYLOAD)),
    ]
}

fn streams() -> Vec<Case> {
    let no_window = settings(INITIAL_WINDOW_SIZE, 0);
    vec![
        case("generic/2/1 PRIORITY of an idle stream", [priority(1, 0, 255), ping(PAYLOAD)].concat(), Pong(PAYLOAD)),
        case(
            "generic/2/2 WINDOW_UPDATE of a half-closed stream",
            [no_window.clone(), get(), window_update(1, 1)].concat(),
            Data(1),
        ),
        case(
            "generic/2/3 PRIORITY of a half-closed stream",
            [no_window, get(), priority(1, 0, 255), window_update(1, 1)].concat(),
            Data(1),
        ),
        case("generic/2/4 RST_STREAM of a half-closed stream", [get(), reset(1, CANCEL), ping(PAYLOAD)].concat(), Pong(PAYLOAD)),
        case("generic/2/5 PRIORITY of a closed stream", get(), AnswerEnds)
            .then([priority(1, 0, 255), ping(PAYLOAD)].concat(), Pong(PAYLOAD)),
        case("generic/3.4/1 RST_STREAM", [post(&[]), reset(1, CANCEL), ping(PAYLOAD)].concat(), Pong(PAYLOAD)),
        case("generic/3.9/2 WINDOW_UPDATE of a stream", [get(), window_update(1, 1)].concat(), Answer),
    ]
}

fn priorities() -> Vec<Case> {
    vec![
        case("generic/3.3/1 the lowest", [priority(1, 0, 0), get()].concat(), Answer),
        case("generic/3.3/2 the highest", [priority(1, 0, 255), get()].concat(), Answer),
        case("generic/3.3/3 one that depends", [priority(3, 1, 0), get()].concat(), Answer),
        case("generic/3.3/4 an exclusive one", [priority(1, EXCLUSIVE, 0), get()].concat(), Answer),
        case("generic/3.3/5 of a later stream", [priority(3, 0, 255), get()].concat(), Answer),
    ]
}

fn frames() -> Vec<Case> {
    let (padded, prioritised) = (END_HEADERS | END_STREAM | PADDED, END_HEADERS | END_STREAM | WITH_PRIORITY);
    let padding = [0; 8];
    let get_with = |flags, payload: [&[u8]; 3]| frame(HEADERS, flags, 1, payload.concat());
    let in_pieces = |at: [usize; 2]| {
        let (block, flags) = (get_block(), END_STREAM);
        let pieces = [&block[..at[0]], &block[at[0]..at[1]], &block[at[1]..]];
        (
            frame(HEADERS, flags, 1, pieces[0]),
            frame(CONTINUATION, 0, 1, pieces[1]),
            frame(CONTINUATION, END_HEADERS, 1, pieces[2]),
        )
    };
    let ((first, _, all_the_rest), (_, middle, rest)) = (in_pieces([5, 5]), in_pieces([5, 10]));
    vec![
        case("generic/3.1/1 DATA", [post(&[]), data(END_STREAM, "test")].concat(), Answer),
        case("generic/3.1/2 DATA twice", [post(&[]), data(0, "test"), data(END_STREAM, "test")].concat(), Answer),
        case("generic/3.1/3 DATA with padding", [post(&[]), data(END_STREAM | PADDED, "\x06test\0\0\0\0\0\0")].concat(), Answer),
        case("generic/3.2/1 HEADERS", get(), Answer),
        case("generic/3.2/2 HEADERS with padding", get_with(padded, [&[8], &get_block(), &padding]), Answer),
        case("generic/3.2/3 HEADERS with a priority", get_with(prioritised, [&depends(0, 255), &get_block(), &[]]), Answer),
        case("generic/3.10/1 CONTINUATION", [first.clone(), all_the_rest].concat(), Answer),
        case("generic/3.10/2 CONTINUATION twice", [first, middle, rest].concat(), Answer),
    ]
}

fn requests() -> Vec<Case> {
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, block(&[("x-test", "ok")]));
    vec![
        case("generic/4/1 GET", get(), Answer),
        case("generic/4/2 HEAD", whole(block(&fields("HEAD"))), Answer),
        case("generic/4/3 POST", [post(&[]), data(END_STREAM, "test")].concat(), Answer),
        case("generic/4/4 POST with trailers", [post(&[("trailer", "x-test")]), data(0, "test"), trailers].concat(), Answer),
    ]
}

/// RFC 7541 6: each way to write a field, `user-agent: h2spec` or `x-test: h2spec`, with Huffman coding and without.
fn hpack() -> Vec<Case> {
    const USER_AGENT: &[u8] = b"\x0auser-agent\x06h2spec";
    const USER_AGENT_CODED: &[u8] = b"\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4";
    const X_TEST: &[u8] = b"\x06x-test\x06h2spec";
    const X_TEST_CODED: &[u8] = b"\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4";
    let written = |name, kind: u8, field: &[u8]| case(name, whole([&get_block()[..], &[kind], field].concat()), Answer);
    let resized = |name, update: &[u8]| case(name, whole([update, &get_block()].concat()), Answer);
    vec![
        case("generic/5/1 an indexed field", whole([&get_block()[..], b"\xba"].concat()), Answer),
        written("generic/5/2 with indexing, a known name", 0x40, USER_AGENT),
        written("generic/5/3 with indexing, a known name, coded", 0x40, USER_AGENT_CODED),
        written("generic/5/4 with indexing, a new name", 0x40, X_TEST),
        written("generic/5/5 with indexing, a new name, coded", 0x40, X_TEST_CODED),
        written("generic/5/6 without indexing, a known name", 0, USER_AGENT),
        written("generic/5/7 without indexing, a known name, coded", 0, USER_AGENT_CODED),
        written("generic/5/8 without indexing, a new name", 0, X_TEST),
        written("generic/5/9 without indexing, a new name, coded", 0, X_TEST_CODED),
        written("generic/5/10 never indexed, a known name", 0x10, USER_AGENT),
        written("generic/5/11 never indexed, a known name, coded", 0x10, USER_AGENT_CODED),
        written("generic/5/12 never indexed, a new name", 0x10, X_TEST),
        written("generic/5/13 never indexed, a new name, coded", 0x10, X_TEST_CODED),
        resized("generic/5/14 a table of size 0", b"\x20"),
        resized("generic/5/15 a table of size 0, then of 4096", b"\x20\x3f\xe1\x1f"),
    ]
}
