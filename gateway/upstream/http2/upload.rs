//! What is left to send of a request: its body and trailers. An answer may come although the server takes no more of it.
//!
//! What must stay true here: the body is asked for more only when what there was is on its way; one that ends in an error resets
//! the stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::upstream::request_body::{BodyError, RequestBody};

pub struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// What the server had no room for yet, and whether it is the last.
    waiting: Option<(Bytes, bool)>,
}

/// Sends what there is. What is done with becomes `None`.
pub fn send_on(unsent: &mut Option<Upload>, context: &mut Context<'_>) -> Result<(), BodyError> {
    let Some(upload) = unsent else { return Ok(()) };
    if let Poll::Ready(sent) = upload.poll_send(context) {
        *unsent = None;
        return sent;
    }
    Ok(())
}

impl Upload {
    pub fn new(body: RequestBody, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, waiting: None }
    }

    /// Ready when nothing is left, or nothing more can be sent.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        loop {
            if self.stream.poll_reset(context).is_ready() || ready!(self.poll_waiting(context)) {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => self.waiting = Some((Bytes::new(), true)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.waiting = Some((data, self.body.is_end_stream())),
                    Err(frame) => {
                        // Fails only where nobody takes them any more.
                        let _ = self.stream.send_trailers(frame.into_trailers().unwrap_or_default());
                        return Poll::Ready(Ok(()));
                    }
                },
                Some(Err(error)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Sends what waits, once there is room for some of it. True where that is the last that is sent.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Some((data, _)) = &self.waiting else { return Poll::Ready(false) };
        if !data.is_empty() {
            // Room for all would be taken from the other streams.
            self.stream.reserve_capacity(1);
            while self.stream.capacity() == 0 {
                let Some(Ok(_)) = ready!(self.stream.poll_capacity(context)) else { return Poll::Ready(true) };
            }
        }
        let (data, is_last) = self.waiting.take().expect("it was there just now");
        Poll::Ready(self.stream.send_data(data, is_last).is_err() || is_last)
    }
}
