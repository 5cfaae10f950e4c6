//! The body of an answer as it streams in, with what is left to send of its request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

use super::connection::Connection;
use super::upload::{self, Upload};
use crate::upstream::exchange::ExchangeError;
use crate::upstream::http1::{Head, digits};

pub struct Download {
    body: RecvStream,
    /// Bytes still to come, where that was told. That it is true is seen to where frames are read.
    remaining: Option<u64>,
    /// All has been taken, trailers included.
    is_done: bool,
    /// The server answered before it had the whole request.
    unsent: Option<Upload>,
    /// Counts as under way there.
    _connection: Arc<Connection>,
}

impl Download {
    pub(super) fn new(head: &Head, body: RecvStream, unsent: Option<Upload>, connection: Arc<Connection>) -> Self {
        let told = head.headers.get(CONTENT_LENGTH).and_then(|length| digits(length.as_bytes()));
        Self { body, remaining: told, is_done: false, unsent, _connection: connection }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ExchangeError>> {
        upload::send_on(&mut self.unsent, context)?;
        if self.is_done {
            return Poll::Ready(Ok(None));
        }
        if let Some(data) = ready!(self.body.poll_data(context)) {
            let data = data.map_err(ExchangeError::Reset)?;
            // What was taken makes room for more; fails only where no more comes.
            let _ = self.body.flow_control().release_capacity(data.len());
            self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(data.len() as u64));
            return Poll::Ready(Ok(Some(Frame::data(data))));
        }
        let trailers = ready!(self.body.poll_trailers(context)).map_err(ExchangeError::Reset)?;
        self.is_done = true;
        Poll::Ready(Ok(trailers.map(Frame::trailers)))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        self.poll_next(context).map(Result::transpose)
    }

    fn is_end_stream(&self) -> bool {
        self.is_done || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_end_stream() {
            true => SizeHint::with_exact(0),
            false => self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
