//! A connection that one worker's requests to a server share.
//!
//! What must stay true here: it is lent only after the server has said how many streams it takes; and it ends when nobody uses
//! it any more, which from the beginning of a drain on is with its last stream.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use http::uri::Scheme;
use tokio::time::{sleep, timeout};

use super::exchange::Exchange;
use crate::clock;
use crate::drain::Tasks;
use crate::upstream::stream::Stream;

/// Streams at once on a connection, where the server takes so many.
const STREAMS_MOST: u16 = 128;
/// Bytes of an answer that wait here for a client that is slower than the server.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Room for those of every stream, so that none waits for another's client.
const CONNECTION_WINDOW: u32 = STREAMS_MOST as u32 * STREAM_WINDOW;
/// Bytes of a request's body that wait here for the server.
const SEND_BUFFER: usize = 64 * 1024;
/// As large as a head over HTTP/1.
const HEAD_MOST: u32 = 64 * 1024;
/// Between two pings, which find a server that is gone from under a stream that is silent. Servers of gRPC end a connection
/// that is pinged more than once in five minutes.
const PING_EVERY: Duration = Duration::from_mins(6);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Whoever clones its `Arc` is a request under way on it, beside the one who lends it.
#[derive(Debug)]
pub struct Connection {
    /// `None` once no more requests are to go there.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    scheme: Scheme,
    opened: Instant,
}

impl Connection {
    /// Begins to speak HTTP/2, and returns the first exchange once the server does, too.
    ///
    /// # Errors
    /// Where the server ends the connection, or speaks something else.
    pub async fn open(stream: Stream, tasks: &Tasks) -> io::Result<Exchange> {
        let scheme = if matches!(stream, Stream::Tls(_)) { Scheme::HTTPS } else { Scheme::HTTP };
        let (sender, mut http) = builder().handshake(stream).await.map_err(io::Error::other)?;
        poll_fn(|context| poll_settings(&mut http, context)).await?;
        let connection = Self { sender: Mutex::new(Some(sender.clone())), scheme, opened: clock::monotonic() };
        let connection = Arc::new(connection);
        tasks.spawn(drive(http, Arc::downgrade(&connection), tasks.clone()));
        Ok(Exchange::new(connection, sender))
    }

    /// The next exchange; `None` where it takes no more at once, or at all.
    pub fn lend(self: &Arc<Self>) -> Option<Exchange> {
        let sender = self.sender().clone()?;
        let under_way = Arc::strong_count(self) - 1;
        let has_room = under_way < sender.current_max_send_streams().min(STREAMS_MOST.into());
        has_room.then(|| Exchange::new(Arc::clone(self), sender))
    }

    /// It serves a request, beside the one who lends it.
    pub fn is_used(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// Neither side has said that it takes or gives no more requests.
    pub fn is_open(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.sender().as_mut().is_some_and(|sender| matches!(sender.poll_ready(&mut context), Poll::Ready(Ok(()))))
    }

    /// No more requests go there; those under way come to their ends.
    pub fn retire(&self) {
        drop(self.sender().take());
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    fn sender(&self) -> MutexGuard<'_, Option<SendRequest<Bytes>>> {
        self.sender.lock().expect("nothing panics while it holds the sender")
    }
}

fn builder() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        // Until the server has said how many it takes.
        .initial_max_send_streams(0)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEAD_MOST)
        .enable_push(false);
    builder
}

/// Until the server's settings are there, which it begins with.
fn poll_settings(http: &mut client::Connection<Stream>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    match Pin::new(&mut *http).poll(context) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
        Poll::Pending if http.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    }
}

/// The connection's own task. Ends with the connection, and the connection with it.
async fn drive(mut http: client::Connection<Stream>, connection: Weak<Connection>, tasks: Tasks) {
    let silence = pin!(falls_silent(http.ping_pong().expect("it is asked for once")));
    let drain = pin!(async {
        tasks.stopping().await;
        if let Some(connection) = connection.upgrade() {
            connection.retire();
        }
        pending::<()>().await;
    });
    tokio::select! {
        ended = http => if let Err(error) = ended {
            tracing::debug!(%error, "a connection to an upstream ended");
        },
        () = silence => tracing::debug!("a connection to an upstream has fallen silent"),
        () = drain => {}
    }
}

/// Returns when a ping is not answered.
async fn falls_silent(mut ping_pong: PingPong) {
    loop {
        sleep(PING_EVERY).await;
        if !timeout(PING_TIMEOUT, ping_pong.ping(Ping::opaque())).await.is_ok_and(|pong| pong.is_ok()) {
            return;
        }
    }
}
