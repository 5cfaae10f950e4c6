//! Frames that are wrong where a stream stands, and errors of connections (RFC 9113 5 and 7).

use super::case::Expected::{AnswerEnds, Closed, ConnectionError, Pong, StreamError};
use super::case::{
    Case, Expected, INITIAL_WINDOW_SIZE, MAX_STREAMS, case, continuation, data, depends, get, get_block, ping, post, priority,
    reset, settings, window_update,
};
use crate::support::raw_http2::{
    CANCEL, CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED,
    WITH_PRIORITY, frame,
};

const PROTOCOL: Expected = ConnectionError(PROTOCOL_ERROR);
const CLOSED: Expected = StreamError(STREAM_CLOSED);

pub fn cases() -> Vec<Case> {
    [idle(), half_closed(), closed_by_reset(), closed(), identifiers(), errors()].concat()
}

fn idle() -> Vec<Case> {
    vec![
        case("http2/5.1/1 DATA of an idle stream", data(END_STREAM, "test"), PROTOCOL),
        case("http2/5.1/2 RST_STREAM of an idle stream", reset(1, CANCEL), PROTOCOL),
        case("http2/5.1/3 WINDOW_UPDATE of an idle stream", window_update(1, 100), PROTOCOL),
        case("http2/5.1/4 CONTINUATION of an idle stream", frame(CONTINUATION, END_HEADERS, 1, get_block()), PROTOCOL),
    ]
}

fn half_closed() -> Vec<Case> {
    let again = frame(CONTINUATION, END_HEADERS, 1, get_block());
    vec![
        case("http2/5.1/5 DATA of a half-closed stream", [get(), data(END_STREAM, "test")].concat(), CLOSED),
        case("http2/5.1/6 HEADERS of a half-closed stream", get().repeat(2), CLOSED),
        case("http2/5.1/7 CONTINUATION of a half-closed stream", [get(), again].concat(), CLOSED),
    ]
}

fn closed_by_reset() -> Vec<Case> {
    let reset = [frame(HEADERS, END_HEADERS, 1, get_block()), reset(1, CANCEL)].concat();
    let then = |more: &[u8]| [&reset, more].concat();
    vec![
        case("http2/5.1/8 DATA of a stream that was reset", then(&data(END_STREAM, "test")), CLOSED),
        case("http2/5.1/9 HEADERS of a stream that was reset", then(&get()), CLOSED),
        case("http2/5.1/10 CONTINUATION of a stream that was reset", then(&continuation(END_HEADERS, 1)), CLOSED),
    ]
}

fn closed() -> Vec<Case> {
    let after_the_answer = |name| case(name, get(), AnswerEnds);
    vec![
        after_the_answer("http2/5.1/11 DATA of a closed stream").then(data(END_STREAM, "test"), CLOSED),
        after_the_answer("http2/5.1/12 HEADERS of a closed stream").then(get(), ConnectionError(STREAM_CLOSED)),
        after_the_answer("http2/5.1/13 CONTINUATION of a closed stream")
            .then(continuation(END_HEADERS, 1), ConnectionError(STREAM_CLOSED)),
    ]
}

fn identifiers() -> Vec<Case> {
    let on = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, get_block());
    let too_many = (0..=MAX_STREAMS).flat_map(|count| on(2 * count + 1));
    let itself = [depends(1, 255), get_block()].concat();
    vec![
        case("http2/5.1.1/1 an even stream", on(2), PROTOCOL),
        case("http2/5.1.1/2 a stream below an earlier one", [on(5), on(3)].concat(), PROTOCOL),
        case("http2/5.1.1/3 HEADERS of a half-closed stream", on(5).repeat(2), CLOSED),
        case(
            "http2/5.1.2/1 more streams than told",
            settings(INITIAL_WINDOW_SIZE, 0).into_iter().chain(too_many).collect::<Vec<_>>(),
            StreamError(REFUSED_STREAM),
        ),
        case(
            "http2/5.3.1/1 HEADERS that depend on themselves",
            frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, itself),
            StreamError(PROTOCOL_ERROR),
        ),
        case("http2/5.3.1/2 PRIORITY that depends on itself", priority(1, 1, 255), StreamError(PROTOCOL_ERROR)),
    ]
}

fn errors() -> Vec<Case> {
    let of_a_stream = frame(PING, 0, 3, [0; 8]);
    let unknown_code = 0xff;
    vec![
        case("http2/5.4.1/1 the connection ends after an error", of_a_stream.clone(), Closed),
        case("http2/5.4.1/2 an error is told before (strict)", of_a_stream, PROTOCOL),
        case("http2/7/1 GOAWAY of an unknown code", frame(GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, unknown_code]), Closed),
        case(
            "http2/7/2 RST_STREAM of an unknown code",
            [post(&[]), reset(1, unknown_code.into()), ping([0; 8])].concat(),
            Pong([0; 8]),
        ),
    ]
}
