//! A request on its way out: what of it is written, and what is still to come.
//!
//! What must stay true here: the body is asked for more only when what there was is written; a body that ends in an error is
//! never completed; and a request of which not a byte was written is whole, so that it can go out on another connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::TRAILER;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::Body;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::encode::{self, BodyFraming};
use crate::upstream::request_body::{BodyError, End, RequestBody};

/// Places in the queue: the head, the line before a chunk, data, what stands behind the data.
const HEAD: usize = 0;
const LINE: usize = 1;
const DATA: usize = 2;
const TAIL: usize = 3;

pub struct Outgoing {
    method: Method,
    head: Bytes,
    /// To be written, in this order.
    queue: [Bytes; 4],
    body: RequestBody,
    /// What the body has still to give; `None` once it has ended.
    rest: BodyFraming,
    /// The trailers that the head announced.
    announced: Vec<HeaderName>,
    /// The body was once waited for before the head went out.
    waited: bool,
    /// Bytes of it were written.
    begun: bool,
    /// The upstream takes no more of it.
    failed: bool,
}

#[derive(Debug)]
pub enum SendError {
    Body(BodyError),
    Io(io::Error),
}

impl Outgoing {
    pub fn new(method: Method, target: &PathAndQuery, headers: &HeaderMap, body: RequestBody) -> Self {
        let rest = match body.size_hint().exact() {
            _ if body.is_end_stream() => BodyFraming::None,
            Some(length) => BodyFraming::Length(length),
            None => BodyFraming::Chunked,
        };
        let head = encode::head(&method, target, headers, rest);
        let announced = if rest == BodyFraming::Chunked { announced(headers) } else { Vec::new() };
        let queue = [head.clone(), Bytes::new(), Bytes::new(), Bytes::new()];
        Self { method, head, queue, body, rest, announced, waited: false, begun: false, failed: false }
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Bytes of it may have arrived.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// All of it was written.
    pub fn is_sent(&self) -> bool {
        !self.failed && self.rest == BodyFraming::None && self.is_written()
    }

    /// To be sent once more from its beginning; only for one without a body.
    pub fn rewind(&mut self) {
        if self.begun {
            self.queue[HEAD] = self.head.clone();
            (self.begun, self.failed) = (false, false);
        }
    }

    /// No more of it is written; an answer may still come.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Writes what there is. Ready when nothing is left, or nothing more can be written.
    pub(super) fn poll_send(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while !self.failed {
            if self.wants_body() && self.poll_body(context).map_err(SendError::Body)?.is_pending() && self.holds_back(context) {
                return Poll::Pending;
            }
            if self.is_written() {
                break;
            }
            let written = ready!(self.poll_write(stream, context)).map_err(SendError::Io)?;
            self.begun = true;
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn is_written(&self) -> bool {
        self.queue.iter().all(Bytes::is_empty)
    }

    /// The first of the body goes out with the head.
    fn wants_body(&self) -> bool {
        self.rest != BodyFraming::None && self.queue[DATA].is_empty() && (!self.begun || self.is_written())
    }

    /// Nothing of the body is there. A head waits one turn for it: what came with it from the client is on its way.
    fn holds_back(&mut self, context: &Context<'_>) -> bool {
        if !self.begun && !self.waited {
            self.waited = true;
            context.waker().wake_by_ref();
            return true;
        }
        self.begun
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.rest != BodyFraming::None && self.queue[DATA].is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                self.end(&HeaderMap::new())?;
                break;
            };
            match frame?.into_data() {
                Ok(data) => self.add(data)?,
                Err(frame) => self.end(&frame.into_trailers().unwrap_or_default())?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn add(&mut self, data: Bytes) -> Result<(), BodyError> {
        match &mut self.rest {
            _ if data.is_empty() => return Ok(()),
            BodyFraming::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(BodyError(End::Broken))?;
                if *left == 0 {
                    self.rest = BodyFraming::None;
                }
            }
            _ => {
                self.queue[LINE] = encode::chunk_line(data.len());
                self.queue[TAIL] = Bytes::from_static(b"\r\n");
                if self.body.is_end_stream() {
                    self.queue[TAIL] = Bytes::from_static(b"\r\n0\r\n\r\n");
                    self.rest = BodyFraming::None;
                }
            }
        }
        self.queue[DATA] = data;
        Ok(())
    }

    /// Of the trailers, those pass that were announced.
    fn end(&mut self, trailers: &HeaderMap) -> Result<(), BodyError> {
        if self.rest != BodyFraming::Chunked {
            return Err(BodyError(End::Broken));
        }
        let passing = trailers.iter().filter(|(name, _)| self.announced.contains(name));
        let mut announced = HeaderMap::new();
        for (name, value) in passing {
            announced.append(name, value.clone());
        }
        self.queue[TAIL] = encode::last_chunk(&announced);
        self.rest = BodyFraming::None;
        Ok(())
    }

    fn poll_write(&self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut waiting = self.queue.iter().filter(|part| !part.is_empty());
        let written = match (waiting.next(), waiting.next()) {
            (Some(only), None) => Pin::new(stream).poll_write(context, only),
            _ => Pin::new(stream).poll_write_vectored(context, &self.queue.each_ref().map(|part| IoSlice::new(part))),
        };
        match ready!(written) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => Poll::Ready(written),
        }
    }

    fn advance(&mut self, mut written: usize) {
        for part in &mut self.queue {
            let here = written.min(part.len());
            part.advance(here);
            written -= here;
        }
    }
}

fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(TRAILER).iter().map(HeaderValue::as_bytes);
    let names = lines.flat_map(|line| line.split(|&byte| byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}
