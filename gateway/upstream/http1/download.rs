//! The body of an answer as it streams in, with what is left to send of its request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::Connection;
use super::decode::{Decoded, Decoder};
use super::outgoing::{Outgoing, SendError};
use super::parse::Head;
use super::{Malformed, framing};
use crate::upstream::exchange::ExchangeError;

pub struct Download {
    /// Gone once it was taken back.
    connection: Option<Box<Connection>>,
    decoder: Decoder,
    /// The upstream answered before it had the whole request.
    unsent: Option<Box<Outgoing>>,
    keeps_alive: bool,
}

impl Download {
    /// What follows `head` on `connection`. What is left to send of `request` is taken from it.
    ///
    /// # Errors
    /// Where the end of the body could be seen in two places.
    pub fn new(head: &Head, connection: Box<Connection>, request: &mut Outgoing) -> Result<Self, Malformed> {
        let decoder = framing::of_answer(request.method(), head)?;
        let unsent = (!request.is_sent()).then(|| Box::new(mem::take(request)));
        Ok(Self { connection: Some(connection), decoder, unsent, keeps_alive: framing::keeps_alive(head) })
    }

    /// The connection, where it may serve another request: both sides of this exchange are at their ends.
    pub fn take_idle(&mut self) -> Option<Box<Connection>> {
        let is_over = self.decoder.is_done() && self.unsent.is_none() && self.keeps_alive;
        let connection = self.connection.take().filter(|_| is_over)?;
        connection.settled()
    }

    /// The connection, whatever stands on it: after a 101.
    pub fn into_connection(self) -> Option<Connection> {
        self.connection.map(|connection| *connection)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ExchangeError>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(None)) };
        send_on(&mut self.unsent, connection, context)?;
        loop {
            match self.decoder.decode(&mut connection.unread)? {
                Decoded::Data(data) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Decoded::Trailers(trailers) => return Poll::Ready(Ok(Some(Frame::trailers(trailers)))),
                Decoded::End => return Poll::Ready(Ok(None)),
                Decoded::Starved => {}
            }
            if ready!(connection.poll_fill(context)).map_err(ExchangeError::BrokeOff)? == 0 {
                self.decoder.close().map_err(|error| ExchangeError::BrokeOff(io::Error::other(error)))?;
                self.keeps_alive = false;
            }
        }
    }
}

/// That the upstream takes no more of the request does not end its answer.
fn send_on(
    unsent: &mut Option<Box<Outgoing>>,
    connection: &mut Connection,
    context: &mut Context<'_>,
) -> Result<(), ExchangeError> {
    let Some(request) = unsent else { return Ok(()) };
    match connection.poll_send(request, context) {
        Poll::Ready(Err(SendError::Body(error))) => return Err(error.into()),
        Poll::Ready(Err(SendError::Io(_))) => request.fail(),
        Poll::Ready(Ok(())) if request.is_sent() => *unsent = None,
        Poll::Ready(Ok(())) | Poll::Pending => {}
    }
    Ok(())
}

impl Body for Download {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        self.poll_next(context).map(Result::transpose)
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
