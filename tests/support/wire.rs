//! HTTP/1.1 as bytes: reading heads and bodies from a socket without judging them.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use socket2::SockRef;

use super::PATIENCE;

/// One end of a TCP connection.
pub struct Wire {
    reader: BufReader<TcpStream>,
}

/// A request's or response's first line and header lines.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub first_line: String,
    pub headers: Headers,
    /// As it came, the empty line included.
    pub raw: Vec<u8>,
}

/// Header lines in their order, names as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

#[derive(Clone, Debug, Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Headers,
    /// Whether it reached the end its framing promised.
    pub complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClosed,
}

/// How the other side ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a socket takes nodelay");
        Self { reader: BufReader::with_capacity(64 * 1024, stream) }
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    pub fn send(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream().write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent; reading goes on.
    pub fn finish(&self) {
        // A peer that has gone already needs not be told.
        let _ = self.stream().shutdown(Shutdown::Write);
    }

    pub fn close(&self) {
        let _ = self.stream().shutdown(Shutdown::Both);
    }

    /// Makes the coming close a reset.
    pub fn reset_on_close(&self) {
        SockRef::from(self.stream()).set_linger(Some(std::time::Duration::ZERO)).expect("a socket takes linger");
    }

    /// The next head; `None` when the connection ended before its first byte.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        let mut raw = Vec::new();
        loop {
            let start = raw.len();
            if self.reader.read_until(b'\n', &mut raw)? == 0 {
                return if raw.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
            if matches!(&raw[start..], b"\r\n" | b"\n") {
                return Ok(Some(Head::parse(raw)));
            }
        }
    }

    /// The body, as far as it comes.
    pub fn body(&mut self, framing: Framing) -> Body {
        match framing {
            Framing::None => Body { complete: true, ..Body::default() },
            Framing::Length(length) => self.sized(length),
            Framing::Chunked => self.chunked(),
            Framing::UntilClosed => {
                let mut bytes = Vec::new();
                let complete = self.reader.read_to_end(&mut bytes).is_ok();
                Body { bytes, complete, trailers: Headers::default() }
            }
        }
    }

    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The content of the next chunk; empty for the last one, whose trailers are left to be read.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| io::Error::new(ErrorKind::InvalidData, line.clone()))?;
        let bytes = self.exactly(size)?;
        if size > 0 && !self.line()?.is_empty() {
            return Err(io::Error::new(ErrorKind::InvalidData, "a chunk is longer than its size"));
        }
        Ok(bytes)
    }

    /// Reads to the end. Returns what still came, and how it ended.
    pub fn end(&mut self) -> (Vec<u8>, End) {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => (rest, End::Closed),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (rest, End::Reset),
            Err(error) => {
                panic!("the connection was neither closed nor reset: {error}; came: {}", String::from_utf8_lossy(&rest))
            }
        }
    }

    fn sized(&mut self, length: u64) -> Body {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(length).read_to_end(&mut bytes);
        Body { complete: read.is_ok() && bytes.len() as u64 == length, bytes, trailers: Headers::default() }
    }

    fn chunked(&mut self) -> Body {
        let mut body = Body::default();
        while let Ok(chunk) = self.chunk() {
            if chunk.is_empty() {
                let mut raw = b"trailers\r\n".to_vec();
                while let Ok(line) = self.line() {
                    if line.is_empty() {
                        body.trailers = Head::parse(raw).headers;
                        body.complete = true;
                        break;
                    }
                    raw.extend_from_slice(line.as_bytes());
                    raw.extend_from_slice(b"\r\n");
                }
                return body;
            }
            body.bytes.extend_from_slice(&chunk);
        }
        body
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Head {
    fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        };
        let headers = lines.filter(|line| !line.is_empty()).map(header).collect();
        Self { first_line, headers: Headers(headers), raw }
    }

    /// The body's framing by `Transfer-Encoding` and `Content-Length`; `otherwise` when neither is there.
    pub fn framing(&self, otherwise: Framing) -> Framing {
        if self.headers.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        self.headers.get("content-length").and_then(|length| length.parse().ok()).map_or(otherwise, Framing::Length)
    }
}

impl Headers {
    /// The first of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}
