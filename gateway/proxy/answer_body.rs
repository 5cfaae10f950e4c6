//! The body of an answer: none, our own, or the upstream's as it streams through.
//!
//! What must stay true here: the record is closed when the last byte was handed over, or when the body is dropped before; an
//! upstream that breaks off makes an error, never an end, so that the client can tell; and its connection is given back
//! only after its answer was read whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::client::Client;
use super::failure::Failure;
use super::record::Record;
use super::worker::Worker;
use crate::observe::metrics::UpstreamResult;
use crate::upstream::pool::Connection;

#[expect(
    clippy::large_enum_variant,
    reason = "moved once into hyper's own box; a box of ours would be one allocation more per request"
)]
pub enum AnswerBody {
    Empty,
    Own(Option<Bytes>),
    Streamed(StreamedAnswer),
}

pub struct StreamedAnswer {
    pub incoming: Incoming,
    pub connection: Option<Connection>,
    pub worker: Arc<Worker>,
    pub client: Arc<Client>,
    /// Closed by being dropped.
    pub record: Option<Record>,
    /// The longest silence of the upstream.
    pub patience: Duration,
}

impl AnswerBody {
    pub fn own(bytes: Bytes) -> Self {
        Self::Own(Some(bytes))
    }

    /// Length of a body of our own.
    pub fn own_length(&self) -> u64 {
        match self {
            Self::Own(Some(bytes)) => bytes.len() as u64,
            Self::Empty | Self::Own(None) | Self::Streamed(_) => 0,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(answer) => answer.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Own(bytes) => bytes.is_none(),
            Self::Streamed(answer) => answer.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(answer) => answer.incoming.size_hint(),
        }
    }
}

impl StreamedAnswer {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        match &polled {
            Poll::Pending => {
                self.client.upstream_is_silent(self.patience);
                return polled;
            }
            Poll::Ready(Some(Ok(frame))) => self.count(frame.data_ref().map_or(0, Bytes::len) as u64),
            Poll::Ready(Some(Err(_))) => self.cut(),
            Poll::Ready(None) => self.end(),
        }
        self.client.upstream_has_spoken();
        // A body whose length was told is not polled for its end.
        if self.incoming.is_end_stream() {
            self.end();
        }
        polled
    }

    fn count(&mut self, bytes: u64) {
        if let Some(record) = &mut self.record {
            record.response_bytes += bytes;
        }
    }

    /// The answer was read whole.
    pub fn end(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.complete();
        }
        if let Some(connection) = self.connection.take() {
            self.worker.pool.give_back(connection);
        }
    }

    fn cut(&mut self) {
        self.connection = None;
        self.client.cut_answer();
        if let Some(mut record) = self.record.take() {
            record.cut(&Failure::UpstreamProtocol("broke off"), UpstreamResult::Protocol);
        }
    }
}

/// Where the client left, or was cut off for the upstream's silence, the record closes with what it has.
impl Drop for StreamedAnswer {
    fn drop(&mut self) {
        // hyper does not poll a body that a HEAD or 304 makes it leave out.
        if self.incoming.is_end_stream() {
            self.end();
        }
        if let Some(record) = self.record.as_mut().filter(|_| self.client.was_cut()) {
            record.cut(&Failure::UpstreamTimeout, UpstreamResult::Timeout);
        }
        self.client.upstream_has_spoken();
    }
}
