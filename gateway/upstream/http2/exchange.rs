//! The first half of an exchange: the request out, the head of the answer in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::Version;

use super::connection::Connection;
use super::download::Download;
use super::request;
use super::upload::{self, Upload};
use crate::upstream::exchange::ExchangeError;
use crate::upstream::http1::{Head, HopByHop, Outgoing};

/// A stream that is dropped before its end is reset, which tells the server that nobody waits any more.
pub struct Exchange {
    connection: Arc<Connection>,
    sender: SendRequest<Bytes>,
    begun: Option<Begun>,
}

struct Begun {
    response: ResponseFuture,
    has_body: bool,
    unsent: Option<Upload>,
    /// There once the head is.
    body: Option<RecvStream>,
}

impl Exchange {
    pub(super) fn new(connection: Arc<Connection>, sender: SendRequest<Bytes>) -> Self {
        Self { connection, sender, begun: None }
    }

    /// What may be lent to others as well.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Sends, until the head of the answer is there. It may come before all is sent.
    pub fn poll_answer(&mut self, request: &mut Outgoing, context: &mut Context<'_>) -> Poll<Result<Head, ExchangeError>> {
        if self.begun.is_none() {
            self.begun = Some(self.begin(request)?);
        }
        let begun = self.begun.as_mut().expect("it has just begun");
        upload::send_on(&mut begun.unsent, context)?;
        match ready!(Pin::new(&mut begun.response).poll(context)) {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                begun.body = Some(body);
                Poll::Ready(Ok(Head {
                    status: head.status,
                    version: Version::HTTP_2,
                    headers: head.headers,
                    hop_by_hop: HopByHop::default(),
                }))
            }
            Err(error) => Poll::Ready(Err(self.lost(error))),
        }
    }

    /// After its head.
    pub fn into_download(self, head: &Head) -> Download {
        let Begun { unsent, body, .. } = self.begun.expect("the head came in answer to a request");
        Download::new(head, body.expect("it came with the head"), unsent, self.connection)
    }

    fn begin(&mut self, request: &mut Outgoing) -> Result<Begun, ExchangeError> {
        let head = request::read(request.head(), request.method(), self.connection.scheme())?;
        let has_body = request.has_body();
        let (response, stream) = self.sender.send_request(head, !has_body).map_err(|error| {
            self.connection.retire();
            ExchangeError::NotSent(io::Error::other(error))
        })?;
        let unsent = request.take_body().map(|body| Upload::new(body, stream));
        Ok(Begun { response, has_body, unsent, body: None })
    }

    /// What a server says it has not looked at (RFC 9113 8.7) counts as not sent, while it is here as a whole.
    fn lost(&self, error: h2::Error) -> ExchangeError {
        let is_refused = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        let has_body = self.begun.as_ref().is_some_and(|begun| begun.has_body);
        if is_refused {
            self.connection.retire();
        }
        match is_refused && !has_body {
            true => ExchangeError::NotSent(io::Error::other(error)),
            false if error.is_io() => ExchangeError::NoAnswer(io::Error::other(error)),
            false => ExchangeError::Reset(error),
        }
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("connection", &self.connection).finish_non_exhaustive()
    }
}
