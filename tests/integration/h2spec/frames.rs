//! Prefaces and frames that are wrong in themselves, and settings (RFC 9113 3, 4 and 6).

use super::case::Expected::{Answer, Closed, ConnectionError, Data, Pong, Reset, Settings, SettingsAck, StreamError};
use super::case::{
    Case, ENABLE_PUSH, Expected, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, case, continuation, data, from_the_start, get, get_block,
    large_field, ping, post, post_block, priority, reset, settings, whole, window_update,
};
use crate::support::raw_http2::{
    ACK, CANCEL, COMPRESSION_ERROR, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, HEADERS, PADDED,
    PING, PREFACE, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, frame, setting,
};

/// No kind of frame that anybody knows.
const UNKNOWN: u8 = 0x16;
const NOTHING: [u8; 8] = [0; 8];
const PAYLOAD: [u8; 8] = *b"h2spec\0\0";
const MOST: u32 = i32::MAX as u32;
/// One setting and a third of another.
const NO_MULTIPLE: &[u8] = b"\0\x03\0\0\0\x64\0\x02";

const PROTOCOL: Expected = ConnectionError(PROTOCOL_ERROR);
const FRAME_SIZE: Expected = ConnectionError(FRAME_SIZE_ERROR);
const FLOW_CONTROL: Expected = ConnectionError(FLOW_CONTROL_ERROR);

pub fn cases() -> Vec<Case> {
    [prefaces(), formats(), heads(), data_and_headers(), small_frames(), wrong_settings(), windows(), continuations()].concat()
}

fn prefaces() -> Vec<Case> {
    let preface = [PREFACE, &settings(INITIAL_WINDOW_SIZE, 65535)].concat();
    vec![
        from_the_start("http2/3.5/1 a preface", preface, Settings),
        from_the_start("http2/3.5/2 no preface", "INVALID CONNECTION PREFACE\r\n\r\n", Closed),
    ]
}

fn formats() -> Vec<Case> {
    let unknown = frame(UNKNOWN, 0, 0, NOTHING);
    let large = "x".repeat(16384);
    vec![
        case("http2/4.1/1 an unknown frame", [unknown.clone(), ping(NOTHING)].concat(), Pong(NOTHING)),
        case("http2/4.1/2 undefined flags", frame(PING, 0x16, 0, NOTHING), Pong(NOTHING)),
        case("http2/4.1/3 the reserved bit", frame(PING, 0x16, 1 << 31, NOTHING), Pong(NOTHING)),
        case("http2/4.2/1 DATA of 16384 bytes", [post(&[]), data(END_STREAM, &large)].concat(), Answer),
        case(
            "http2/4.2/2 DATA of more",
            [post(&[]), data(END_STREAM, format!("{large}x"))].concat(),
            StreamError(FRAME_SIZE_ERROR),
        ),
        case("http2/4.2/3 HEADERS of more", whole([get_block(), large_field().repeat(5)].concat()), FRAME_SIZE),
        case("http2/5.5/1 an unknown frame", [unknown, ping(NOTHING)].concat(), Pong(NOTHING)),
    ]
}

/// RFC 9113 4.3: nothing stands between the frames of a head.
fn heads() -> Vec<Case> {
    let begun = |flags| frame(HEADERS, flags, 1, get_block());
    let other = frame(HEADERS, END_HEADERS | END_STREAM, 3, get_block());
    let within = |name, between: &[u8]| case(name, [&begun(0), between, &continuation(END_HEADERS, 1)].concat(), PROTOCOL);
    vec![
        case("http2/4.3/1 a block that breaks off", whole(b"\x40"), ConnectionError(COMPRESSION_ERROR)),
        within("http2/4.3/2 PRIORITY within a head", &priority(1, 0, 255)),
        within("http2/4.3/3 another head within a head", &other),
        case("http2/5.5/2 an unknown frame within a head", [begun(END_STREAM), frame(UNKNOWN, 0, 0, NOTHING)].concat(), PROTOCOL),
        within("http2/6.2/1 PRIORITY within a head", &priority(1, 0, 255)),
        within("http2/6.2/2 another head within a head", &other),
    ]
}

fn data_and_headers() -> Vec<Case> {
    let whole_post = frame(HEADERS, END_HEADERS | END_STREAM, 1, post_block());
    let too_padded = data(END_STREAM | PADDED, "\x06Test");
    let block = get_block();
    let beyond = [u8::try_from(block.len() + 2).expect("a short block")];
    vec![
        case("http2/6.1/1 DATA of stream 0", frame(DATA, END_STREAM, 0, "test"), PROTOCOL),
        case(
            "http2/6.1/2 DATA of a half-closed stream",
            [whole_post, data(END_STREAM, "test")].concat(),
            StreamError(STREAM_CLOSED),
        ),
        case("http2/6.1/3 more padding than DATA", [post(&[("content-length", "4")]), too_padded].concat(), PROTOCOL),
        case("http2/6.2/3 HEADERS of stream 0", frame(HEADERS, END_HEADERS | END_STREAM, 0, &block), PROTOCOL),
        case(
            "http2/6.2/4 more padding than HEADERS",
            frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, [&beyond[..], &block].concat()),
            StreamError(PROTOCOL_ERROR),
        ),
    ]
}

fn small_frames() -> Vec<Case> {
    vec![
        case("http2/6.3/1 PRIORITY of stream 0", priority(0, 0, 255), PROTOCOL),
        case(
            "http2/6.3/2 PRIORITY of 4 bytes",
            [get(), frame(PRIORITY, 0, 1, b"\x80\0\0\x01")].concat(),
            StreamError(FRAME_SIZE_ERROR),
        ),
        case("http2/6.4/1 RST_STREAM of stream 0", reset(0, CANCEL), PROTOCOL),
        case("http2/6.4/2 RST_STREAM of an idle stream", reset(1, CANCEL), PROTOCOL),
        case("http2/6.4/3 RST_STREAM of 3 bytes", [get(), frame(RST_STREAM, 0, 1, [0; 3])].concat(), FRAME_SIZE),
        case("http2/6.7/1 PING", ping(PAYLOAD), Pong(PAYLOAD)),
        case("http2/6.7/2 PING that acknowledges", [frame(PING, ACK, 0, b"invalid\0"), ping(PAYLOAD)].concat(), Pong(PAYLOAD)),
        case("http2/6.7/3 PING of a stream", frame(PING, 0, 1, NOTHING), PROTOCOL),
        case("http2/6.7/4 PING of 6 bytes", frame(PING, 0, 0, [0; 6]), FRAME_SIZE),
        case("http2/6.8/1 GOAWAY of a stream", frame(GOAWAY, 0, 1, NOTHING), PROTOCOL),
    ]
}

fn wrong_settings() -> Vec<Case> {
    let twice = [setting(INITIAL_WINDOW_SIZE, 100), setting(INITIAL_WINDOW_SIZE, 1)].concat();
    vec![
        case("http2/6.5/1 SETTINGS that acknowledge with content", frame(SETTINGS, ACK, 0, [0]), FRAME_SIZE),
        case("http2/6.5/2 SETTINGS of a stream", frame(SETTINGS, 0, 1, setting(3, 100)), PROTOCOL),
        case("http2/6.5/3 SETTINGS of a wrong length", frame(SETTINGS, 0, 0, NO_MULTIPLE), FRAME_SIZE),
        case("http2/6.5.2/1 ENABLE_PUSH of 2", settings(ENABLE_PUSH, 2), PROTOCOL),
        case("http2/6.5.2/2 INITIAL_WINDOW_SIZE beyond all", settings(INITIAL_WINDOW_SIZE, MOST + 1), FLOW_CONTROL),
        case("http2/6.5.2/3 MAX_FRAME_SIZE below the least", settings(MAX_FRAME_SIZE, 16383), PROTOCOL),
        case("http2/6.5.2/4 MAX_FRAME_SIZE above the most", settings(MAX_FRAME_SIZE, 1 << 24), PROTOCOL),
        case("http2/6.5.2/5 an unknown setting", [settings(0xff, 1), ping(NOTHING)].concat(), Pong(NOTHING)),
        case("http2/6.5.3/1 the last of two values counts", frame(SETTINGS, 0, 0, twice), SettingsAck).then(get(), Data(1)),
        case("http2/6.5.3/2 SETTINGS are acknowledged", settings(ENABLE_PUSH, 0), SettingsAck),
    ]
}

fn windows() -> Vec<Case> {
    let open = frame(HEADERS, END_HEADERS, 1, get_block());
    let most = |stream| window_update(stream, MOST);
    vec![
        case("http2/6.9/1 WINDOW_UPDATE by 0", window_update(0, 0), PROTOCOL),
        case(
            "http2/6.9/2 WINDOW_UPDATE of a stream by 0",
            [&open[..], &window_update(1, 0)].concat(),
            StreamError(PROTOCOL_ERROR),
        ),
        case("http2/6.9/3 WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, [0, 0, 1]), FRAME_SIZE),
        case("http2/6.9.1/1 a window of 1", settings(INITIAL_WINDOW_SIZE, 1), SettingsAck).then(get(), Data(1)),
        case("http2/6.9.1/2 a window beyond all", [most(0), most(0)].concat(), FLOW_CONTROL),
        case("http2/6.9.1/3 a stream's window beyond all", [open, most(1), most(1)].concat(), Reset(FLOW_CONTROL_ERROR)),
        case("http2/6.9.2/1 a window that opens after the request", settings(INITIAL_WINDOW_SIZE, 0), SettingsAck)
            .then([get(), settings(INITIAL_WINDOW_SIZE, 1)].concat(), SettingsAck)
            .then([], Data(1)),
        case("http2/6.9.2/2 a window below 0", settings(INITIAL_WINDOW_SIZE, 3), SettingsAck)
            .then(get(), Data(3))
            .then(settings(INITIAL_WINDOW_SIZE, 2), SettingsAck)
            .then(window_update(1, 2), Data(1)),
        case("http2/6.9.2/3 INITIAL_WINDOW_SIZE beyond all", settings(INITIAL_WINDOW_SIZE, MOST + 1), FLOW_CONTROL),
    ]
}

fn continuations() -> Vec<Case> {
    let head = |flags| frame(HEADERS, flags, 1, get_block());
    let (more, last) = (continuation(0, 1), continuation(END_HEADERS, 1));
    vec![
        case("http2/6.10/1 CONTINUATION twice", [&head(END_STREAM)[..], &more, &last].concat(), Answer),
        case("http2/6.10/2 DATA after CONTINUATION", [&head(0)[..], &more, &data(END_STREAM, "test")].concat(), PROTOCOL),
        case("http2/6.10/3 CONTINUATION of stream 0", [head(END_STREAM), continuation(END_HEADERS, 0)].concat(), PROTOCOL),
        case("http2/6.10/4 CONTINUATION of a whole head", [&get()[..], &last].concat(), PROTOCOL),
        case("http2/6.10/5 CONTINUATION after the last", [&head(END_STREAM)[..], &last, &last].concat(), PROTOCOL),
        case("http2/6.10/6 CONTINUATION after DATA", [&head(0)[..], &data(END_STREAM, "test"), &more, &last].concat(), PROTOCOL),
    ]
}
