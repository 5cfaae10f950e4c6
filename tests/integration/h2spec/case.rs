//! What a case is: bytes that are sent, and what has to come of them.

use crate::support::raw_http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, PROTOCOL_ERROR,
    RST_STREAM, RawHttp2, SETTINGS, WINDOW_UPDATE, block, frame, setting,
};

/// Identifiers of settings (RFC 9113 6.5.2).
pub const HEADER_TABLE_SIZE: u16 = 1;
pub const ENABLE_PUSH: u16 = 2;
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_FRAME_SIZE: u16 = 5;
pub const MAX_HEADER_LIST_SIZE: u16 = 6;

/// What the gateway says of itself.
pub const MAX_STREAMS: u32 = 128;

#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    begins: Begins,
    /// What is sent, and what has to come before the next is.
    steps: Vec<(Vec<u8>, Expected)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// After both sides have told their settings.
    Greeted,
    Silent,
}

#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// GOAWAY with this code or with PROTOCOL_ERROR, which may stand for every other (RFC 9113 5.4), and the end.
    ConnectionError(u32),
    /// RST_STREAM with this code, or the same as a connection error.
    StreamError(u32),
    /// RST_STREAM of stream 1 with this code, and no GOAWAY.
    Reset(u32),
    /// The end of the connection.
    Closed,
    /// An answer to stream 1.
    Answer,
    /// The end of an answer.
    AnswerEnds,
    /// The next DATA has so many bytes.
    Data(usize),
    /// The next PING acknowledges this one.
    Pong([u8; 8]),
    /// The next SETTINGS acknowledge ours.
    SettingsAck,
    /// Before anything else, its settings.
    Settings,
}

/// A case that begins after the handshake.
pub fn case(name: &'static str, sent: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { name, begins: Begins::Greeted, steps: vec![(sent.into(), expected)] }
}

/// A case that begins with the first byte of the connection.
pub fn from_the_start(name: &'static str, sent: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { name, begins: Begins::Silent, steps: vec![(sent.into(), expected)] }
}

impl Case {
    pub fn then(mut self, sent: impl Into<Vec<u8>>, expected: Expected) -> Self {
        self.steps.push((sent.into(), expected));
        self
    }

    pub fn run(self, mut connection: RawHttp2) {
        if self.begins == Begins::Greeted {
            greet(&mut connection);
        }
        for (sent, expected) in self.steps {
            connection.send(sent);
            expected.wait(&mut connection);
        }
    }
}

/// Both sides tell and acknowledge their settings.
fn greet(connection: &mut RawHttp2) {
    connection.send([PREFACE, &frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 65535))].concat());
    let told = connection.next().expect("settings");
    let says = |wanted: Vec<u8>| told.payload.chunks(6).any(|said| said == wanted);
    assert!(told.kind == SETTINGS && says(setting(MAX_CONCURRENT_STREAMS, MAX_STREAMS)), "{told:?}");
    Expected::SettingsAck.wait(connection);
    connection.send(frame(SETTINGS, ACK, 0, []));
}

impl Expected {
    #[track_caller]
    fn wait(self, connection: &mut RawHttp2) {
        let mut seen = Vec::new();
        while let Some(frame) = connection.next() {
            let met = self.is_met_by(&frame);
            seen.push(frame);
            match met {
                // The connection ends after an error of its own (RFC 9113 5.4.1).
                Some(true) if seen.last().is_some_and(|frame| frame.kind == GOAWAY) => return drop(connection.rest()),
                Some(true) => return,
                Some(false) => panic!("{self:?}, but {seen:?}"),
                None => {}
            }
        }
        assert!(matches!(self, Self::Closed), "{self:?}, but the end after {seen:?}");
    }

    /// `None`: it may still be.
    fn is_met_by(self, frame: &Frame) -> Option<bool> {
        match (self, frame.kind) {
            (Self::ConnectionError(code), GOAWAY) | (Self::StreamError(code), GOAWAY | RST_STREAM) => {
                Some([code, PROTOCOL_ERROR].contains(&frame.code()))
            }
            (Self::Reset(code), RST_STREAM) => Some(frame.stream == 1 && frame.code() == code),
            (Self::Answer, HEADERS) => Some(frame.stream == 1),
            (Self::Answer | Self::AnswerEnds, RST_STREAM | GOAWAY) | (Self::Reset(_), GOAWAY) => Some(false),
            (Self::AnswerEnds, DATA | HEADERS) => Some(true).filter(|_| frame.has(END_STREAM)),
            (Self::Data(length), DATA) => Some(frame.payload.len() == length),
            (Self::Pong(payload), PING) => Some(frame.has(ACK) && frame.payload == payload),
            (Self::SettingsAck, SETTINGS) => Some(frame.has(ACK)),
            (Self::Settings, kind) => Some(kind == SETTINGS && !frame.has(ACK)),
            _ => None,
        }
    }
}

/// What every request says.
pub fn fields(method: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "gateway.test")]
}

pub fn get_block() -> Vec<u8> {
    block(&fields("GET"))
}

pub fn post_block() -> Vec<u8> {
    block(&fields("POST"))
}

/// HEADERS of stream 1 with this block, and nothing to follow.
pub fn whole(block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

/// A whole GET.
pub fn get() -> Vec<u8> {
    whole(get_block())
}

/// A POST on stream 1 with these fields besides, its body still to come.
pub fn post(more: &[(&'static str, &'static str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, block(&[&fields("POST"), more].concat()))
}

/// DATA of stream 1.
pub fn data(flags: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, flags, 1, payload)
}

/// A field of about 4000 bytes: one alone fits into a frame, five do not.
pub fn large_field() -> Vec<u8> {
    block(&[("x-dummy", &"x".repeat(4000))])
}

/// CONTINUATION with such a field.
pub fn continuation(flags: u8, stream: u32) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, large_field())
}

pub fn priority(stream: u32, depends_on: u32, weight: u8) -> Vec<u8> {
    frame(PRIORITY, 0, stream, depends(depends_on, weight))
}

/// What a stream depends on, with the bit for `exclusive` in it.
pub fn depends(on: u32, weight: u8) -> Vec<u8> {
    [&on.to_be_bytes()[..], &[weight]].concat()
}

pub fn ping(payload: [u8; 8]) -> Vec<u8> {
    frame(PING, 0, 0, payload)
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, code.to_be_bytes())
}

pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, by.to_be_bytes())
}

pub fn settings(identifier: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, setting(identifier, value))
}
