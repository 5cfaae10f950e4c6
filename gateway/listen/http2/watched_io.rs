//! A client's socket as HTTP/2 reads and writes it, with an eye on what goes by.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::frames::Frames;
use crate::clock;
use crate::proxy::client_stream::ClientStream;

pub struct WatchedIo<'a> {
    pub stream: &'a mut ClientStream,
    /// What was read before it was known to be HTTP/2.
    pub early: Bytes,
    pub frames: Frames,
    pub activity: Arc<Activity>,
}

impl WatchedIo<'_> {
    fn poll_fill(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut *self.stream).poll_read(context, buffer);
        }
        let taken = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..taken]);
        self.early.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for WatchedIo<'_> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.poll_fill(context, buffer);
        let read = &buffer.filled()[before..];
        if !read.is_empty() {
            self.frames.read(read, clock::monotonic()).map_err(io::Error::other)?;
            self.activity.received(self.frames.has_begun(), self.frames.is_in_head());
        }
        polled
    }
}

impl AsyncWrite for WatchedIo<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.stream).poll_write(context, bytes);
        self.activity.write_is_blocked(polled.is_pending());
        polled
    }

    /// The head of a frame and its payload: in one call of the system, and one record of TLS.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.stream).poll_write_vectored(context, parts);
        self.activity.write_is_blocked(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// TLS may still hold what was written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.stream).poll_flush(context);
        self.activity.write_is_blocked(polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}
