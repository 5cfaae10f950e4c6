//! HTTP/2 from a client's side: a well-behaved one, and frames as bytes for what no such client would send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::PATIENCE;

/// A connection of a well-behaved client; driven while something is asked.
pub struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    _driven: JoinSet<()>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Http2 {
    pub fn to(address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (sender, driven) = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("somebody listens");
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
            let mut driven = JoinSet::new();
            driven.spawn(async move { drop(connection.await) });
            (sender, driven)
        });
        Self { runtime, sender, _driven: driven }
    }

    /// All of them at once; an answer is an error where it did not come whole.
    pub fn ask_all(&self, requests: Vec<http::Request<Full<Bytes>>>) -> Vec<hyper::Result<Answer>> {
        self.runtime.block_on(async {
            let asking = requests.into_iter().map(|request| {
                let mut sender = self.sender.clone();
                async move { whole(sender.send_request(request).await?).await }
            });
            futures_util::future::join_all(asking).await
        })
    }

    #[track_caller]
    pub fn ask(&self, request: http::Request<Full<Bytes>>) -> Answer {
        self.ask_all(vec![request]).remove(0).expect("a whole answer")
    }
}

/// `https://gateway.test` and this path.
pub fn get(path: &str) -> http::request::Builder {
    http::Request::get(format!("https://gateway.test{path}"))
}

pub fn empty(builder: http::request::Builder) -> http::Request<Full<Bytes>> {
    builder.body(Full::default()).expect("a request")
}

async fn whole(response: http::Response<Incoming>) -> hyper::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers })
}

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

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
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a request with these fields besides, each written out.
pub fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "gateway.test"), (":path", path)];
    pseudo.iter().chain(fields).flat_map(|(name, value)| literal(name, value)).collect()
}

/// RFC 7541 6.2.2, for texts of less than 127 bytes.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A connection whose frames a test writes itself.
pub struct RawHttp2(TcpStream);

impl RawHttp2 {
    /// Without a byte sent.
    pub fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        Self(stream)
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
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// `None` at the end, however that came.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if let Err(error) = self.0.read_exact(&mut head) {
            assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "nothing came");
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
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it does not end");
        }
        bytes
    }

    /// All until the end of the connection.
    pub fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
