//! A request on its way out: what of it is written, and what is still to come.
//!
//! What must stay true here: the body is asked for more only when what there was is written; a body that ends in an error is
//! never completed; and a request of which not a byte was written is whole, so that it can go out on another connection.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, Method};
use http_body::Body;
use tokio::io::AsyncWrite;

use super::encode::{self, BodyFraming, Finished, RequestHead};
use crate::upstream::request_body::{BodyError, End, RequestBody};
use crate::upstream::stream::Stream;

#[derive(Default)]
pub struct Outgoing {
    method: Method,
    head: Vec<u8>,
    /// Bytes of the head that are written.
    written: usize,
    /// TLS may hold back some of what is written.
    unflushed: bool,
    upload: Option<Box<Upload>>,
    /// The upstream takes no more of it.
    failed: bool,
    /// An empty map, for the headers of the answer.
    spare: HeaderMap,
}

/// The body, where there is one.
struct Upload {
    body: RequestBody,
    /// What it has still to give; `None` once it has ended.
    rest: BodyFraming,
    /// To be written, in this order: the line before a chunk, data, what stands behind the data.
    line: Bytes,
    data: Bytes,
    tail: Bytes,
    /// The trailers that the head announced.
    announced: Vec<HeaderName>,
    /// It was once waited for before the head went out.
    waited: bool,
}

#[derive(Debug)]
pub enum SendError {
    Body(BodyError),
    Io(io::Error),
}

impl Outgoing {
    pub fn new(head: RequestHead, body: Option<RequestBody>) -> Self {
        let framing = body.as_ref().map_or(BodyFraming::None, framing);
        let Finished { method, wire, announced } = head.finish(framing);
        let upload = body.map(|body| Box::new(Upload::new(body, framing, announced)));
        Self { method, head: wire, written: 0, unflushed: false, upload, failed: false, spare: HeaderMap::new() }
    }

    /// The answer's headers are put into `map`, whatever is in it now: its room costs more than its emptying.
    #[must_use]
    pub fn reusing(mut self, mut map: HeaderMap) -> Self {
        map.clear();
        self.spare = map;
        self
    }

    pub(super) fn spare(&mut self) -> &mut HeaderMap {
        &mut self.spare
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    /// As it goes over the wire.
    pub(in crate::upstream) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(in crate::upstream) fn has_body(&self) -> bool {
        self.upload.is_some()
    }

    /// The body, to be sent in another protocol.
    pub(in crate::upstream) fn take_body(&mut self) -> Option<RequestBody> {
        self.upload.take().map(|upload| upload.body)
    }

    /// Bytes of it may have arrived.
    pub fn is_begun(&self) -> bool {
        self.written > 0
    }

    /// All of it was written.
    pub fn is_sent(&self) -> bool {
        let is_over = |upload: &Upload| upload.rest == BodyFraming::None;
        !self.failed && !self.unflushed && self.is_written() && self.upload.as_deref().is_none_or(is_over)
    }

    /// To be sent once more from its beginning; only for one without a body.
    pub fn rewind(&mut self) {
        if self.is_begun() {
            (self.written, self.unflushed, self.failed) = (0, false, false);
        }
    }

    /// No more of it is written; an answer may still come.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Writes what there is. Ready when nothing is left, or nothing more can be written.
    pub(super) fn poll_send(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while !self.failed {
            let (is_begun, is_written) = (self.is_begun(), self.is_written());
            if let Some(upload) = &mut self.upload
                && upload.is_wanted(is_begun, is_written)
                && upload.poll_body(context).map_err(SendError::Body)?.is_pending()
                && (is_begun || upload.holds_back(context))
            {
                // What is written goes out meanwhile; the body is what is waited for.
                if let Poll::Ready(Err(error)) = self.poll_flush(stream, context) {
                    return Poll::Ready(Err(error));
                }
                return Poll::Pending;
            }
            if self.is_written() {
                return self.poll_flush(stream, context);
            }
            let written = ready!(self.poll_write(stream, context)).map_err(SendError::Io)?;
            self.unflushed = true;
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(context)).map_err(SendError::Io)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn is_written(&self) -> bool {
        self.written == self.head.len() && self.upload.as_deref().is_none_or(Upload::is_written)
    }

    fn poll_write(&self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (stream, head) = (Pin::new(stream), &self.head[self.written..]);
        let written = match self.upload.as_deref().filter(|upload| !upload.is_written()) {
            None => stream.poll_write(context, head),
            Some(Upload { line, data, tail, .. }) => {
                stream.poll_write_vectored(context, &[head, line, data, tail].map(IoSlice::new))
            }
        };
        match ready!(written) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => Poll::Ready(written),
        }
    }

    fn advance(&mut self, written: usize) {
        let of_head = written.min(self.head.len() - self.written);
        self.written += of_head;
        if let Some(upload) = &mut self.upload {
            upload.advance(written - of_head);
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        encode::leave_room(mem::take(&mut self.head));
    }
}

fn framing(body: &RequestBody) -> BodyFraming {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => BodyFraming::None,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::Chunked,
    }
}

impl Upload {
    fn new(body: RequestBody, rest: BodyFraming, announced: Vec<HeaderName>) -> Self {
        Self { body, rest, line: Bytes::new(), data: Bytes::new(), tail: Bytes::new(), announced, waited: false }
    }

    fn is_written(&self) -> bool {
        self.line.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// The first of the body goes out with the head.
    fn is_wanted(&self, is_begun: bool, is_written: bool) -> bool {
        self.rest != BodyFraming::None && self.data.is_empty() && (!is_begun || is_written)
    }

    /// Nothing of the body is there. A head waits one turn for it: what came with it from the client is on its way.
    fn holds_back(&mut self, context: &Context<'_>) -> bool {
        let waits = !mem::replace(&mut self.waited, true);
        if waits {
            context.waker().wake_by_ref();
        }
        waits
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.rest != BodyFraming::None && self.data.is_empty() {
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
                self.line = encode::chunk_line(data.len());
                self.tail = Bytes::from_static(b"\r\n");
                if self.body.is_end_stream() {
                    self.tail = Bytes::from_static(b"\r\n0\r\n\r\n");
                    self.rest = BodyFraming::None;
                }
            }
        }
        self.data = data;
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), BodyError> {
        if self.rest != BodyFraming::Chunked {
            return Err(BodyError(End::Broken));
        }
        self.tail = encode::last_chunk(trailers, &self.announced);
        self.rest = BodyFraming::None;
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        for part in [&mut self.line, &mut self.data, &mut self.tail] {
            let here = written.min(part.len());
            part.advance(here);
            written -= here;
        }
    }
}
