//! HTTP/2 frame by frame, for what no well-behaved client would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;
use super::tls::TlsConnection;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames (RFC 9113 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of frames.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// Codes of errors (RFC 9113 7).
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a GOAWAY or a RST_STREAM.
    pub fn code(&self) -> u32 {
        let code = if self.kind == GOAWAY { &self.payload[4..8] } else { &self.payload[..4] };
        u32::from_be_bytes(code.try_into().expect("four bytes"))
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let length = u32::try_from(payload.as_ref().len()).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload.as_ref()].concat()
}

/// One setting of a SETTINGS frame.
pub fn setting(identifier: u16, value: u32) -> Vec<u8> {
    [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// The head of a request with these fields besides, each written out.
pub fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "gateway.test"), (":path", path)];
    block(&[&pseudo, fields].concat())
}

/// These fields in this order, each written out (RFC 7541 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// RFC 7541 5.2, without Huffman coding.
fn text(text: &str) -> Vec<u8> {
    [integer(text.len(), 7), text.as_bytes().to_vec()].concat()
}

/// RFC 7541 5.1: what does not fit into the `bits` of the first byte follows by sevens. The other bits of that byte are 0.
pub fn integer(value: usize, bits: u32) -> Vec<u8> {
    let most = (1 << bits) - 1;
    let byte = |value: usize| u8::try_from(value).expect("it was cut to a byte");
    if value < most {
        return vec![byte(value)];
    }
    let (mut bytes, mut rest) = (vec![byte(most)], value - most);
    while rest >= 128 {
        bytes.push(byte((rest % 128) | 128));
        rest /= 128;
    }
    bytes.push(byte(rest));
    bytes
}

/// What frames go over.
trait Stream: Read + Write + Send {}

impl Stream for TcpStream {}
impl Stream for TlsConnection {}

/// A connection whose frames a test writes itself.
pub struct RawHttp2(Box<dyn Stream>);

impl RawHttp2 {
    /// Without a byte sent.
    pub fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        Self(Box::new(stream))
    }

    /// The same over TLS, in whose handshake it was agreed on.
    pub fn over_tls(connection: TlsConnection) -> Self {
        assert_eq!(connection.session().alpn_protocol(), Some(&b"h2"[..]));
        Self(Box::new(connection))
    }

    /// With the preface and these settings sent.
    pub fn to(address: SocketAddr, settings: &[u8]) -> Self {
        let mut connection = Self::silent(address);
        connection.send(PREFACE);
        connection.send(frame(SETTINGS, 0, 0, settings));
        connection
    }

    /// A server that has had enough may be gone already.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).and_then(|()| self.0.flush()).is_ok()
    }

    /// `None` at the end, however that came.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if let Err(error) = self.0.read_exact(&mut head) {
            assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "nothing came");
            return None;
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next of this kind, whatever comes before.
    pub fn next_of(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| frame.kind == kind)
    }

    /// All bytes until the end of the connection.
    pub fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut bytes) {
            let ends = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof);
            assert!(ends, "it does not end");
        }
        bytes
    }

    /// All until the end of the connection.
    pub fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
