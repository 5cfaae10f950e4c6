//! A client that sends what it is told and reads one response at a time.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::gateway::Key;
use super::wire::{Body, End, Framing, Head, Headers, Wire};

/// A request in good form, unless a test bends it.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    host: String,
    headers: String,
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, host: "gateway.test".to_owned(), headers: String::new(), body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::with_body("POST", target, body)
    }

    pub fn with_body(method: &str, target: &str, body: impl AsRef<[u8]>) -> Self {
        let mut request = Self::new(method, target).header("Content-Length", &body.as_ref().len().to_string());
        request.body = body.as_ref().to_vec();
        request
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub fn key(self, key: &Key) -> Self {
        self.header("Authorization", &format!("Bearer {}", key.secret))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", self.method, self.target, self.host, self.headers);
        [head.as_bytes(), &self.body].concat()
    }

    /// Over a connection of its own.
    pub fn send_to(&self, address: SocketAddr) -> Response {
        Connection::to(address).ask(self)
    }
}

#[derive(Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
    /// Whether the body reached the end its framing promised.
    pub complete: bool,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        write!(f, "{} {:?} {start:?} {:?} complete: {}", self.status, self.headers.0, self.trailers.0, self.complete)
    }
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The `code` of one of the gateway's own answers; empty for any other.
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn expect(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
    }
}

pub struct Connection {
    wire: Wire,
}

impl Connection {
    pub fn to(address: SocketAddr) -> Self {
        Self { wire: Wire::new(TcpStream::connect(address).expect("somebody listens")) }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes).expect("the other side takes bytes");
    }

    /// Sends as much as the other side takes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.send(bytes)
    }

    pub fn finish(&mut self) {
        self.wire.finish();
    }

    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    #[track_caller]
    pub fn ask(&mut self, request: &Request) -> Response {
        self.send(request.bytes());
        self.response_to(&request.method)
    }

    /// The response to a request whose method was not HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The next final response; interim ones before it are passed over.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        let (mut status, mut head) = self.head();
        while (100..200).contains(&status) && status != 101 {
            (status, head) = self.head();
        }
        let framing = match status {
            101 | 204 | 304 => Framing::None,
            _ if method == "HEAD" => Framing::None,
            _ => head.framing(Framing::UntilClosed),
        };
        let Body { bytes, trailers, complete } = self.wire.body(framing);
        Response { status, headers: head.headers, body: bytes, trailers, complete }
    }

    /// The next head, interim ones included.
    #[track_caller]
    pub fn head(&mut self) -> (u16, Head) {
        let head = self.wire.head().expect("a head can be read").expect("an answer before the end of the connection");
        let status = head.first_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no status line: {}", head.first_line)), head)
    }

    /// Waits for the other side to end the connection, which must happen without another byte.
    #[track_caller]
    pub fn end(&mut self) -> End {
        let (rest, end) = self.wire.end();
        assert_eq!(String::from_utf8_lossy(&rest), "", "nothing more was expected");
        end
    }
}
