//! One request and its answer, over whichever protocol the server speaks.
//!
//! What must stay true here: which one it is costs HTTP/1 a look, and no allocation: its box is made with its connection. What is
//! moved from hand to hand with a request is small.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::http1::{self, Head, Malformed, Outgoing};
use super::http2;
use super::request_body::BodyError;

/// What a request goes out on.
#[derive(Debug)]
pub enum Connection {
    Http1(Box<http1::Connection>),
    /// One stream of several.
    Http2(Box<http2::Exchange>),
}

/// The body of an answer as it streams in, with what is left to send of its request.
pub enum Download {
    Http1(http1::Download),
    Http2(Box<http2::Download>),
}

/// Why an exchange has no answer, or only the beginning of one.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Or the server said that it has not looked at it.
    #[error("nothing could be sent: {0}")]
    NotSent(io::Error),
    /// Not one byte of one.
    #[error("the connection ended without an answer: {0}")]
    NoAnswer(io::Error),
    #[error("the answer broke off: {0}")]
    BrokeOff(io::Error),
    /// Its code goes on to a client that speaks HTTP/2.
    #[error("the stream was reset: {0}")]
    Reset(#[source] h2::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    RequestBody(#[from] BodyError),
}

impl Connection {
    /// Sends, until the head of the answer is there. It may come before all is sent.
    pub fn poll_answer(&mut self, request: &mut Outgoing, context: &mut Context<'_>) -> Poll<Result<Head, ExchangeError>> {
        match self {
            Self::Http1(connection) => connection.poll_answer(request, context),
            Self::Http2(exchange) => exchange.poll_answer(request, context),
        }
    }

    /// No answer came in time: it may be dead, and is lent to nobody else.
    pub fn retire(&self) {
        match self {
            Self::Http1(_) => {}
            Self::Http2(exchange) => exchange.connection().retire(),
        }
    }
}

impl Download {
    /// What follows `head` on `connection`.
    ///
    /// # Errors
    /// Where the end of the body could be seen in two places.
    pub fn new(head: &Head, connection: Connection, request: &mut Outgoing) -> Result<Self, Malformed> {
        match connection {
            Connection::Http1(connection) => http1::Download::new(head, connection, request).map(Self::Http1),
            Connection::Http2(exchange) => Ok(Self::Http2(Box::new(exchange.into_download(head)))),
        }
    }

    /// The connection, where it may serve another request. One of HTTP/2 does so all the time.
    pub fn take_idle(&mut self) -> Option<Box<http1::Connection>> {
        match self {
            Self::Http1(download) => download.take_idle(),
            Self::Http2(_) => None,
        }
    }

    /// The connection, whatever stands on it: after a 101, which HTTP/2 does not know.
    pub fn into_connection(self) -> Option<http1::Connection> {
        match self {
            Self::Http1(download) => download.into_connection(),
            Self::Http2(_) => None,
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        match &mut *self {
            Self::Http1(download) => Pin::new(download).poll_frame(context),
            Self::Http2(download) => Pin::new(download).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(download) => download.is_end_stream(),
            Self::Http2(download) => download.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(download) => download.size_hint(),
            Self::Http2(download) => download.size_hint(),
        }
    }
}
