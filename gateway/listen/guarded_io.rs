//! A client's socket as hyper reads and writes it, with an eye on what goes by.
//!
//! What must stay true here: an answer that hyper makes by itself, to bytes that are no request, is kept from the client, so
//! that the gateway can give its own; a client that leaves while it is answered is seen to leave; and the socket is not shut down
//! by hyper, because it may become a tunnel or have to linger.

use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use crate::proxy::client::{Client, Phase};
use crate::proxy::client_stream::ClientStream;

/// Bytes of a next request that are read while one is answered.
const AHEAD: usize = 256;

pub struct GuardedIo {
    inner: TokioIo<ClientStream>,
    client: Arc<Client>,
    /// Was read before hyper asked for it, and is given to it first.
    early: Bytes,
    /// hyper itself waits for the client, as of this turn.
    awaited: bool,
    /// The status that hyper would have answered with.
    refused: Option<u16>,
}

impl GuardedIo {
    pub fn new(stream: ClientStream, early: Bytes, client: Arc<Client>) -> Self {
        Self { inner: TokioIo::new(stream), client, early, awaited: false, refused: None }
    }

    pub fn refused(&self) -> Option<u16> {
        self.refused
    }

    /// The stream, and what was read of it that hyper has not taken.
    pub fn into_parts(self) -> (ClientStream, Bytes) {
        (self.inner.into_inner(), self.early)
    }

    /// While it answers, hyper is told (`half_close`) not to look for the client's end: it would make a buffer of 8 KiB for that, with
    /// each request. A body it reads by itself, and in larger pieces.
    fn watch(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_seen = mem::take(&mut self.awaited) || !self.early.is_empty() || self.client.is_uploading();
        if is_seen || self.client.phase() != Phase::Busy {
            return Ok(());
        }
        let mut space = [MaybeUninit::uninit(); AHEAD];
        let mut ahead = ReadBuf::uninit(&mut space);
        if Pin::new(self.inner.inner_mut()).poll_read(context, &mut ahead)?.is_ready() {
            if ahead.filled().is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.early = Bytes::copy_from_slice(ahead.filled());
        }
        Ok(())
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
        self.awaited = polled.is_pending();
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

    /// hyper flushes here in each turn, once it has written all it had. TLS may still hold some of it.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(context)?;
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper::rt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::clock;
    use crate::config::Scheme;
    use crate::model::address::PeerAddr;

    /// A socket, its client and the client's own end of it.
    async fn connection() -> (GuardedIo, Arc<Client>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let far = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it is there");
        let (near, peer) = listener.accept().await.expect("somebody connected");
        let client = Arc::new(Client::new(PeerAddr::new(peer), Scheme::Http, clock::monotonic()));
        (GuardedIo::new(ClientStream::Plain(near), Bytes::new(), Arc::clone(&client)), client, far)
    }

    async fn read(io: &mut GuardedIo) -> usize {
        let mut space = [0; 16 * AHEAD];
        let mut buffer = rt::ReadBuf::new(&mut space);
        poll_fn(|context| Pin::new(&mut *io).poll_read(context, buffer.unfilled())).await.expect("it is open");
        buffer.filled().len()
    }

    async fn turn_ends(io: &mut GuardedIo) -> io::Result<()> {
        io.inner.inner().tcp().readable().await.expect("something came");
        poll_fn(|context| Pin::new(&mut *io).poll_flush(context)).await
    }

    #[tokio::test]
    async fn a_body_is_left_to_hyper_whole_and_without_one_a_client_is_seen_to_leave() {
        let (mut io, client, mut far) = connection().await;
        client.begin(true);
        far.write_all(&[0; 8 * AHEAD]).await.expect("it is open");
        turn_ends(&mut io).await.expect("the client is there");
        assert!(read(&mut io).await > AHEAD);
        client.begin(false);
        drop(far);
        assert_eq!(turn_ends(&mut io).await.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    }
}
