//! A client's socket as hyper reads and writes it, with an eye on what goes by.
//!
//! What must stay true here: an answer that hyper makes by itself, to bytes that are no request, is kept from the client, so
//! that the gateway can give its own; and the socket is not shut down by hyper, because it may become a tunnel or have to
//! linger.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;

use crate::proxy::client::Client;
use crate::proxy::client_stream::ClientStream;

pub struct GuardedIo {
    inner: TokioIo<ClientStream>,
    client: Arc<Client>,
    /// Was read before; hyper has it all before it waits for more.
    early: Bytes,
    /// The status that hyper would have answered with.
    refused: Option<u16>,
}

impl GuardedIo {
    pub fn new(stream: ClientStream, early: Bytes, client: Arc<Client>) -> Self {
        Self { inner: TokioIo::new(stream), client, early, refused: None }
    }

    pub fn refused(&self) -> Option<u16> {
        self.refused
    }

    pub fn into_stream(self) -> ClientStream {
        self.inner.into_inner()
    }

    /// `HTTP/1.1 400 Bad Request…`
    fn keep_back(&mut self, answer: &[u8]) -> usize {
        let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.refused = self.refused.or(status);
        answer.len()
    }
}

impl Read for GuardedIo {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let taken = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(taken));
            self.client.received();
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if polled.is_ready() {
            self.client.received();
        }
        polled
    }
}

impl Write for GuardedIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.client.is_being_answered() {
            return Poll::Ready(Ok(self.keep_back(bytes)));
        }
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.client.write_is_blocked(polled.is_pending());
        polled
    }

    /// hyper flushes here only once it has written all it had. TLS may still hold some of it.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.client.write_is_blocked(polled.is_pending());
        if polled.is_ready() {
            self.client.flushed();
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
