//! A client's socket as HTTP/2 reads and writes it, with an eye on what goes by.
//!
//! What must stay true here: nothing stays unsent when the connection's task waits, unless the client does not take it. hyper
//! writes and flushes each frame by itself; together they are one record of TLS and one call.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::frames::Frames;
use crate::clock;
use crate::proxy::client_stream::ClientStream;

/// What one record of TLS holds (RFC 8446 5.1).
const RECORD: usize = 16 * 1024;

/// The socket, and what goes to it at the end of a turn of the connection's task. Only that task locks it.
pub struct Outlet {
    shared: Mutex<Outgoing>,
    activity: Arc<Activity>,
}

struct Outgoing {
    stream: ClientStream,
    /// Holds no memory when all is sent.
    unsent: BytesMut,
}

impl Outlet {
    pub fn new(stream: ClientStream, activity: Arc<Activity>) -> Self {
        Self { shared: Mutex::new(Outgoing { stream, unsent: BytesMut::new() }), activity }
    }

    /// Sends what was written. TLS may hold some of it, too.
    pub fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.lock().poll_send(context);
        self.activity.write_is_blocked(polled.is_pending());
        polled
    }

    /// The socket, and what has not been sent.
    pub fn into_parts(self) -> (ClientStream, BytesMut) {
        let outgoing = self.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        (outgoing.stream, outgoing.unsent)
    }

    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
        }
        self.unsent = BytesMut::new();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// As much of `bytes` as there is room for.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(RECORD - self.unsent.len());
        if self.unsent.is_empty() {
            self.unsent.reserve(RECORD);
        }
        self.unsent.extend_from_slice(&bytes[..taken]);
        taken
    }
}

pub struct WatchedIo<'a> {
    pub outlet: &'a Outlet,
    /// What was read before it was known to be HTTP/2.
    pub early: Bytes,
    pub frames: Frames,
}

impl WatchedIo<'_> {
    fn poll_fill(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.outlet.lock().stream).poll_read(context, buffer);
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
            self.outlet.activity.received(self.frames.has_begun(), self.frames.is_in_head());
        }
        polled
    }
}

impl AsyncWrite for WatchedIo<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = self.outlet.lock().put(bytes);
        if taken > 0 || bytes.is_empty() {
            return Poll::Ready(Ok(taken));
        }
        ready!(self.outlet.poll_send(context))?;
        Poll::Ready(Ok(self.outlet.lock().put(bytes)))
    }

    /// More may be written before the task's turn is over.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outlet.poll_send(context))?;
        Pin::new(&mut self.outlet.lock().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read};

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (Outlet, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (Outlet::new(ClientStream::Plain(stream), Arc::new(Activity::new(clock::monotonic()))), client)
    }

    fn io(outlet: &Outlet) -> WatchedIo<'_> {
        WatchedIo { outlet, early: Bytes::new(), frames: Frames::new(clock::monotonic()) }
    }

    #[tokio::test]
    async fn frames_of_one_turn_go_together_at_its_end_and_hold_no_memory_after() {
        let (outlet, mut client) = connected().await;
        for frame in ["head", "data"] {
            io(&outlet).write_all(frame.as_bytes()).await.unwrap();
            io(&outlet).flush().await.unwrap();
        }
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        poll_fn(|context| outlet.poll_send(context)).await.unwrap();
        client.set_nonblocking(false).unwrap();
        let mut came = [0; 8];
        client.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"headdata");
        assert_eq!(outlet.into_parts().1.capacity(), 0);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_leaves_one_record_to_wait() {
        let (outlet, mut client) = connected().await;
        let (bytes, mut written) = (vec![b'a'; 3 * RECORD], 0);
        let blocked = poll_fn(|context| {
            while let Poll::Ready(taken) = Pin::new(&mut io(&outlet)).poll_write(context, &bytes) {
                written += taken.unwrap();
            }
            Poll::Ready(outlet.poll_send(context).is_pending())
        });
        assert!(blocked.await);
        let (stream, unsent) = outlet.into_parts();
        assert!(unsent.len() <= RECORD && written > RECORD, "{} of {written}", unsent.len());
        drop(stream);
        let mut came = Vec::new();
        client.read_to_end(&mut came).unwrap();
        assert_eq!(came.len() + unsent.len(), written);
    }
}
