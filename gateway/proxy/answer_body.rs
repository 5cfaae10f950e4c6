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

use super::client::Client;
use super::failure::Failure;
use super::record::Record;
use crate::clock;
use crate::observe::metrics::UpstreamResult;
use crate::upstream::exchange::{Download, ExchangeError};
use crate::upstream::seat::Seat;

pub enum AnswerBody {
    Empty,
    Own(Option<Bytes>),
    Streamed(StreamedAnswer),
}

pub struct StreamedAnswer {
    pub download: Download,
    /// Gone once the answer was read whole.
    pub seat: Option<Arc<Seat>>,
    /// Closed by being dropped.
    pub record: Option<Box<Record>>,
    /// The longest silence of the upstream.
    pub patience: Duration,
    /// Where the silence is that of both sides: bytes that had gone up when this was last looked at.
    pub uploaded: Option<u64>,
    /// How it broke off, once what came before is on its way.
    pub broken: Option<ExchangeError>,
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
    type Error = ExchangeError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
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
            Self::Streamed(answer) => answer.download.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(answer) => answer.download.size_hint(),
        }
    }
}

impl StreamedAnswer {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        if let Some(error) = self.broken.take() {
            self.cut();
            return Poll::Ready(Some(Err(error)));
        }
        let polled = Pin::new(&mut self.download).poll_frame(context);
        match polled {
            Poll::Pending => {
                let has_moved = self.upload_has_moved();
                if let Some(client) = self.client() {
                    if has_moved {
                        client.upstream_has_spoken();
                    }
                    client.upstream_is_silent(self.patience);
                }
                return Poll::Pending;
            }
            Poll::Ready(Some(Err(error))) => {
                // hyper writes what it has when it has to wait, and nothing after an error.
                self.broken = Some(error);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(ref frame))) => self.count(frame.data_ref().map_or(0, Bytes::len) as u64),
            Poll::Ready(None) => self.end(),
        }
        if let Some(client) = self.client() {
            client.upstream_has_spoken();
        }
        // A body whose length was told is not polled for its end.
        if self.download.is_end_stream() {
            self.end();
        }
        polled
    }

    /// While the request is not over.
    fn client(&self) -> Option<&Client> {
        self.record.as_ref().map(|record| record.client())
    }

    /// What goes up breaks the silence, too.
    fn upload_has_moved(&mut self) -> bool {
        let Some(before) = &mut self.uploaded else { return false };
        let upload = self.record.as_ref().and_then(|record| record.upload.as_ref());
        let now = upload.map_or(0, |upload| upload.bytes());
        std::mem::replace(before, now) != now
    }

    fn count(&mut self, bytes: u64) {
        if let Some(record) = &mut self.record {
            record.response_bytes += bytes;
        }
    }

    /// The answer was read whole.
    pub fn end(&mut self) {
        if self.record.is_none() && self.seat.is_none() {
            return;
        }
        let now = clock::monotonic();
        if let Some(mut record) = self.record.take() {
            record.client().upstream_has_spoken();
            record.complete(now);
        }
        if let Some(seat) = self.seat.take()
            && let Some(connection) = self.download.take_idle()
        {
            seat.give_back(connection, now);
        }
    }

    fn cut(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.client().cut_answer();
            record.client().upstream_has_spoken();
            record.cut(&Failure::UpstreamProtocol("broke off"), UpstreamResult::Protocol);
        }
    }
}

/// Where the client left, or was cut off for the upstream's silence, the record closes with what it has.
impl Drop for StreamedAnswer {
    fn drop(&mut self) {
        // hyper does not poll a body that a HEAD or 304 makes it leave out.
        if self.download.is_end_stream() {
            self.end();
        }
        if let Some(record) = &mut self.record {
            record.client().upstream_has_spoken();
            if record.client().was_cut() {
                record.cut(&Failure::UpstreamTimeout, UpstreamResult::Timeout);
            }
        }
    }
}
