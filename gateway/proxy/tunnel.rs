//! A connection after 101: bytes both ways, until one side ends or both are silent for too long.
//!
//! What must stay true here: a tunnel opens only after the upstream's 101 to a WebSocket request that was forwarded; its record
//! closes when the tunnel does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};

use super::client_stream::ClientStream;
use super::failure::Failure;
use super::record::Record;
use crate::clock;
use crate::observe::metrics::UpstreamResult;
use crate::upstream::http1::Connection;
use crate::upstream::seat::Seat;
use crate::upstream::stream::Stream;

pub struct Tunnel {
    upstream: Stream,
    /// What the upstream had sent behind its 101.
    surplus: Bytes,
    /// The tunnel counts as a request under way.
    _seat: Arc<Seat>,
    record: Box<Record>,
    /// The longest silence of both sides together; zero for any.
    idle_timeout: Duration,
}

impl Tunnel {
    pub fn new(upstream: Connection, seat: Arc<Seat>, record: Box<Record>, idle_timeout: Duration) -> Self {
        let (upstream, surplus) = upstream.into_parts();
        Self { upstream, surplus, _seat: seat, record, idle_timeout }
    }

    /// `early` is what the client had sent behind its request.
    pub async fn run(mut self, client: ClientStream, early: Bytes) {
        let heard = Arc::new(Heard { opened: clock::monotonic(), last: AtomicU64::new(0) });
        let mut client = Listened { stream: client, heard: Arc::clone(&heard), sent: 0 };
        if self.upstream.write_all(&early).await.is_err() || self.upstream.flush().await.is_err() {
            return;
        }
        let ended = tokio::select! {
            // Either side may break off as well as end: many clients of TLS never say that they leave.
            _ = copy(&mut client, &mut self.upstream, &self.surplus) => true,
            () = heard.silence(self.idle_timeout) => false,
        };
        self.record.response_bytes = client.sent;
        match ended {
            true => self.record.complete(clock::monotonic()),
            false => self.record.cut(&Failure::UpstreamTimeout, UpstreamResult::Ok),
        }
    }
}

async fn copy(client: &mut Listened, upstream: &mut Stream, surplus: &[u8]) -> std::io::Result<()> {
    client.write_all(surplus).await?;
    copy_bidirectional(client, upstream).await.map(drop)
}

/// When a byte last went either way.
struct Heard {
    opened: Instant,
    /// Milliseconds since `opened`.
    last: AtomicU64,
}

impl Heard {
    fn now(&self) {
        self.last.store(self.elapsed(), Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(clock::monotonic().duration_since(self.opened).as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns after `limit` without a byte; never, where `limit` is zero.
    async fn silence(&self, limit: Duration) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let silent = Duration::from_millis(self.elapsed().saturating_sub(self.last.load(Ordering::Relaxed)));
            match limit.checked_sub(silent) {
                None | Some(Duration::ZERO) => return,
                Some(rest) => tokio::time::sleep(rest).await,
            }
        }
    }
}

/// The client's socket; what goes through it, either way, is heard.
struct Listened {
    stream: ClientStream,
    heard: Arc<Heard>,
    /// Bytes written to the client.
    sent: u64,
}

impl AsyncRead for Listened {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.heard.now();
        }
        polled
    }
}

impl AsyncWrite for Listened {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.heard.now();
            self.sent += written as u64;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
