//! HTTP/2 from clients (RFC 9113), agreed on by ALPN or known beforehand.
//!
//! What must stay true here: every wait has a deadline, for the connection as for each of its streams; what a client can make the
//! gateway do for nothing is bounded; and a drain cuts no stream: it is told by GOAWAY, and those that are open go on.

mod activity;
pub mod frames;
mod streams;
mod watched_io;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep_until, timeout};

use super::connection::{DRAIN_IDLE, end_with};
use super::timer::Timer;
use crate::clock;
use crate::config::Server;
use crate::proxy::client::Client;
use crate::proxy::client_stream::ClientStream;
use crate::proxy::worker::Worker;
use activity::{Activity, Late};
use frames::Frames;
use streams::Streams;
use watched_io::{Outlet, WatchedIo};

/// What a client that speaks HTTP/2 begins with (RFC 9113 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The part of it that reads like a request; no request of HTTP/1 begins so.
pub const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Requests under way at once; more are asked to wait. RFC 9113 6.5.2 recommends at least 100.
const MAX_STREAMS: u32 = 128;
/// Streams that a client reset before they were looked at.
const MAX_PENDING_RESETS: usize = 32;
/// Streams that were reset for the client's errors, while it may not know yet.
const MAX_LOCAL_RESETS: usize = 256;
/// Between two pings to a client, which tell that it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of answers that wait in memory for each stream to be taken by its client.
const SEND_BUFFER: usize = 64 * 1024;
/// What a header counts for in HTTP/2 beside its name and value (RFC 9113 6.5.2).
const HEADER_OVERHEAD: usize = 32;
/// For `:method`, `:scheme` and their like.
const PSEUDO_HEADERS: usize = 1024;
/// For a client to take the last that it is told.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Http<'a> = http2::Connection<TokioIo<WatchedIo<'a>>, Streams, Streams>;

/// Serves one connection to its end. `early` is what was read of it.
pub async fn serve(stream: ClientStream, early: Bytes, client: Arc<Client>, worker: Arc<Worker>) {
    // Not the whole snapshot, which would keep what a reload has taken away.
    let config = Arc::clone(&worker.live.load().config);
    let rules = &config.server;
    let activity = Arc::new(Activity::new(client.opened));
    let streams = Streams::new(&worker, &client, rules, &activity);
    let outlet = Outlet::new(stream, Arc::clone(&activity));
    let late = {
        let io = WatchedIo { outlet: &outlet, early, frames: Frames::new(clock::monotonic()) };
        let http = pin!(builder(rules, streams.clone()).serve_connection(TokioIo::new(io), streams));
        run(http, &outlet, &activity, rules, &worker).await
    };
    let (mut stream, unsent) = outlet.into_parts();
    match late {
        // The last word may be why it ended: it is not to be reset away.
        None => end_with(stream, &unsent).await,
        Some(Late::Write) => drop(stream.tcp().set_zero_linger()),
        _ => drop(timeout(LAST_WORDS, stream.shutdown()).await),
    }
}

fn builder(rules: &Server, streams: Streams) -> http2::Builder<Streams> {
    let head = rules.max_header_bytes + rules.max_uri_bytes + rules.max_headers * HEADER_OVERHEAD + PSEUDO_HEADERS;
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Drives the connection; returns what ended it, if not the client or the last stream.
async fn run(
    mut http: Pin<&mut Http<'_>>,
    outlet: &Outlet,
    activity: &Activity,
    rules: &Server,
    worker: &Worker,
) -> Option<Late> {
    let sleep = pin!(sleep_until(clock::monotonic().into()));
    let mut timer = Timer::new(sleep);
    let mut stopping = pin!(worker.tasks.stopping());
    let mut listening = false;
    let mut told_to_end: Option<Instant> = None;
    poll_fn(|context| {
        // One look makes the signal wake this task; after that a flag tells.
        if told_to_end.is_none() && (!listening || worker.tasks.is_stopping()) {
            listening = true;
            if stopping.as_mut().poll(context).is_ready() {
                http.as_mut().graceful_shutdown();
                told_to_end = Some(clock::monotonic());
            }
        }
        loop {
            if http.as_mut().poll(context).is_ready() || matches!(outlet.poll_send(context), Poll::Ready(Err(_))) {
                return Poll::Ready(None);
            }
            let idle = told_to_end.and_then(|told| Some(activity.idle_since()?.max(told)));
            let end = idle.map(|since| (since + DRAIN_IDLE, Late::Idle));
            let deadline = activity.deadline(rules, told_to_end.is_some()).into_iter().chain(end);
            let Some((deadline, late)) = deadline.min_by_key(|(at, _)| *at) else { return Poll::Pending };
            if timer.poll(deadline, context).is_pending() {
                return Poll::Pending;
            }
            let now = clock::monotonic();
            match late {
                _ if now < deadline => {}
                Late::Idle if told_to_end.is_none() => {
                    http.as_mut().graceful_shutdown();
                    told_to_end = Some(now);
                }
                late => return Poll::Ready(Some(late)),
            }
        }
    })
    .await
}
