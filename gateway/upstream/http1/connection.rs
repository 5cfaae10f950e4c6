//! A connection to an upstream, and the first half of an exchange on it: the request out, the head of the answer in.
//!
//! What must stay true here: nothing is read before the request is begun, so that what comes unasked is never its answer; and
//! an idle connection on which anything came, be it its end, is not used again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::ExchangeError;
use super::outgoing::{Outgoing, SendError};
use super::parse::{self, Head};

/// What is made room for at once, in bytes; at least half of it is there for each read.
const ROOM: usize = 16 * 1024;
/// The same, for an upstream that fills it each time.
const ROOM_MOST: usize = 128 * 1024;

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    pub(super) unread: BytesMut,
    room: usize,
    /// Something came that is not yet an answer.
    heard: bool,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, unread: BytesMut::new(), room: ROOM, heard: false }
    }

    /// Nothing has come since its last answer. Asks the kernel only when it has said that something may have.
    pub fn is_quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The socket, and what was read beyond the last head.
    pub fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream, self.unread.freeze())
    }

    /// Sends, until the head of the answer is there. It may come before all is sent.
    pub fn poll_answer(&mut self, request: &mut Outgoing, context: &mut Context<'_>) -> Poll<Result<Head, ExchangeError>> {
        match self.poll_send(request, context) {
            Poll::Ready(Err(SendError::Body(error))) => return Poll::Ready(Err(error.into())),
            Poll::Ready(Err(SendError::Io(error))) if !request.is_begun() => {
                return Poll::Ready(Err(ExchangeError::NotSent(error)));
            }
            // An upstream may answer and take no more.
            Poll::Ready(Err(SendError::Io(_))) => request.fail(),
            Poll::Ready(Ok(())) => {}
            Poll::Pending if request.is_begun() => {}
            Poll::Pending => return Poll::Pending,
        }
        loop {
            while let Some(head) = parse::head(&mut self.unread)? {
                self.heard = true;
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
            }
            let heard = self.heard || !self.unread.is_empty();
            let lost = if heard { ExchangeError::BrokeOff } else { ExchangeError::NoAnswer };
            if ready!(self.poll_fill(context)).map_err(lost)? == 0 {
                return Poll::Ready(Err(lost(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    /// As it goes back to the pool; `None` with something on it that nobody asked for.
    pub(super) fn settled(mut self) -> Option<Self> {
        if !self.unread.is_empty() {
            return None;
        }
        if self.room > ROOM {
            (self.room, self.unread) = (ROOM, BytesMut::new());
        }
        self.heard = false;
        Some(self)
    }

    pub(super) fn poll_send(&mut self, request: &mut Outgoing, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        request.poll_send(&mut self.stream, context)
    }

    /// Reads what is there; 0 at the end. A read that does not fill its room tells tokio that the socket is empty, so that the
    /// next one asks the kernel only once there is more.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.capacity() - self.unread.len() < self.room / 2 {
            self.unread.reserve(self.room);
        }
        let space = self.unread.capacity() - self.unread.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), context, &mut self.unread))?;
        if read == space {
            self.room = (self.room * 2).min(ROOM_MOST);
        }
        Poll::Ready(Ok(read))
    }
}
