//! One client connection, from its first byte to its end.
//!
//! What must stay true here: every wait on the client has a deadline; what was answered is read by the client before its
//! connection goes (a close with unread bytes would reset it away); a drain closes no connection that a request may be
//! on its way on; and a connection without a request holds no buffers for long.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep_until, timeout};

use super::guarded_io::GuardedIo;
use super::timer::{Timer, impatience};
use super::{http2, proxy_protocol};
use crate::clock;
use crate::config::Server;
use crate::proxy::answer_body::AnswerBody;
use crate::proxy::client::{Client, Overdue, Phase};
use crate::proxy::client_stream::ClientStream;
use crate::proxy::failure::Failure;
use crate::proxy::handle::handle;
use crate::proxy::unparsed;
use crate::proxy::worker::Worker;

/// How long a kept-alive connection without a request is left open once the gateway drains: a request may be on its way.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(2);
/// How long a connection without a request keeps what it needs for one: buffers and the state of HTTP, some 20 KiB.
const REST_AFTER: Duration = Duration::from_secs(1);
/// How long a client is given to take its last answer while it still sends.
const LINGER: Duration = Duration::from_secs(3);
/// hyper's parser has its own bound on a head; the gateway judges URI and headers apart, with an answer for each.
const HEAD_SLACK: usize = 8 * 1024;
/// The most headers hyper parses without allocating for it.
const FREE_HEADERS: usize = 100;

type Http<S> = http1::Connection<GuardedIo, S>;

/// Serves one connection to its end. Between requests it soon comes to rest, and holds little more than its socket.
pub async fn serve(mut stream: ClientStream, client: Arc<Client>, worker: Arc<Worker>) {
    let mut early = Bytes::new();
    // Boxed, to be gone while the connection rests.
    while let Some(rested) = Box::pin(talk(stream, early, &client, &worker)).await {
        (stream, early) = rested;
        if early.is_empty() && !speaks(&stream, &client, &worker).await {
            return close(stream).await;
        }
    }
}

/// Waits for the next byte of a client; hyper has read what came before. False: none came in time.
async fn speaks(stream: &ClientStream, client: &Client, worker: &Worker) -> bool {
    let deadline = client.deadline(&worker.live.load().config.server).map(|(at, _)| at);
    tokio::select! {
        biased;
        _ = stream.tcp().readable() => true,
        () = impatience(deadline, worker) => false,
    }
}

/// Answers requests until the connection has ended or may rest. It is given back to rest, with what has come of a next request.
async fn talk(stream: ClientStream, early: Bytes, client: &Arc<Client>, worker: &Arc<Worker>) -> Option<(ClientStream, Bytes)> {
    // Not the whole snapshot: a connection lives long, and would keep what a reload has taken away.
    let config = Arc::clone(&worker.live.load().config);
    let rules = &config.server;
    let service = service_fn(|request| handle(request, Arc::clone(worker), Arc::clone(client)));
    let mut http = builder(rules).serve_connection(GuardedIo::new(stream, early, Arc::clone(client)), service);

    let overdue = run(Pin::new(&mut http), client, rules, worker).await;

    if overdue == Some(Overdue::Upstream) {
        client.cut_answer();
    }
    let parts = http.into_parts();
    let refused = parts.io.refused();
    let (stream, unread) = (parts.io.into_stream(), parts.read_buf);
    if overdue == Some(Overdue::Rest) {
        // Empty as it is, it would hold the buffer that it was read into.
        return Some((stream, if unread.is_empty() { Bytes::new() } else { unread }));
    }
    if unread.starts_with(http2::PREFACE_LINE) && !client.has_asked() {
        // Never as a later request: before a proxy that shares connections, it would be another client's.
        Box::pin(http2::serve(stream, unread, Arc::clone(client), Arc::clone(worker))).await;
    } else if let Some(tunnel) = client.take_tunnel() {
        tunnel.run(stream, unread).await;
    } else {
        let failure = match overdue {
            Some(Overdue::Head) => Some(Failure::RequestTimeout),
            _ => refused.and_then(|status| refusal(status, &unread, rules)),
        };
        if refused.is_some() {
            client.leave_unread();
        }
        end(stream, failure.as_ref(), overdue, client, worker).await;
    }
    None
}

/// Why hyper refused it with this status; `None`: there is nothing to say.
fn refusal(status: u16, unread: &[u8], rules: &Server) -> Option<Failure> {
    match proxy_protocol::is_announced(unread) {
        true => Some(Failure::BadRequest("a PROXY protocol header is not accepted from this address")),
        false => unparsed::failure(status, unread, rules),
    }
}

/// Ends a connection so that the client learns what it has to learn.
async fn end(stream: ClientStream, failure: Option<&Failure>, overdue: Option<Overdue>, client: &Client, worker: &Arc<Worker>) {
    if let Some(failure) = failure {
        end_with(stream, &unparsed::answer(failure, worker, client)).await;
    } else if client.was_cut() || overdue == Some(Overdue::Write) {
        // An answer that ends with its connection would look whole.
        let _ = stream.tcp().set_zero_linger();
    } else if client.has_unread() {
        end_with(stream, b"").await;
    } else {
        close(stream).await;
    }
}

/// Whoever reads TLS until its end must be able to tell it from one that was cut.
async fn close(stream: ClientStream) {
    if let ClientStream::Tls(mut stream) = stream {
        let _ = timeout(LINGER, stream.shutdown()).await;
    }
}

fn builder(rules: &Server) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.writev(false).max_buf_size(rules.max_header_bytes + rules.max_uri_bytes + HEAD_SLACK);
    if rules.max_headers > FREE_HEADERS {
        builder.max_headers(rules.max_headers);
    }
    builder
}

/// Drives the connection until it ends or may rest; returns whose slowness ended it, if any's.
async fn run<S>(mut http: Pin<&mut Http<S>>, client: &Client, rules: &Server, worker: &Worker) -> Option<Overdue>
where
    S: Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible>,
{
    let sleep = pin!(sleep_until(clock::monotonic().into()));
    let mut timer = Timer::new(sleep);
    let mut stopping = pin!(worker.tasks.stopping());
    let mut drain_until = None;
    let mut listening = false;
    poll_fn(|context| {
        // One look makes the signal wake this task; after that a flag tells.
        if !listening || (drain_until.is_none() && worker.tasks.is_stopping()) {
            listening = true;
            if stopping.as_mut().poll(context).is_ready() {
                drain_until = Some(clock::monotonic() + DRAIN_IDLE);
            }
        }
        if http.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            let idle_end = drain_until.filter(|_| matches!(client.phase(), Phase::Idle | Phase::Fresh));
            let idle_end = idle_end.map(|end| (end, Overdue::Silence));
            let rest = client.idle_since().filter(|_| drain_until.is_none()).map(|since| (since + REST_AFTER, Overdue::Rest));
            let deadlines = [client.deadline(rules), idle_end, rest].into_iter().flatten();
            let Some((deadline, overdue)) = deadlines.min_by_key(|(at, _)| *at) else { return Poll::Pending };
            if timer.poll(deadline, context).is_pending() {
                return Poll::Pending;
            }
            if clock::monotonic() < deadline {
                continue;
            }
            match overdue {
                Overdue::Rest => {
                    // Ends at once what is between requests. Whatever is not by now, has nothing more to say.
                    http.as_mut().graceful_shutdown();
                    let rests = http.as_mut().poll(context).is_ready();
                    return Poll::Ready(Some(if rests { overdue } else { Overdue::Silence }));
                }
                Overdue::Upstream if client.tell_overdue_head() => {}
                _ => return Poll::Ready(Some(overdue)),
            }
            if http.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
        }
    })
    .await
}

/// Says the last, and that no more will come; reads what the client still sends until it has done the same, within a bound.
pub(super) async fn end_with(mut stream: ClientStream, answer: &[u8]) {
    let ended = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        let mut scrap = vec![0; 16 * 1024];
        while stream.read(&mut scrap).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let _ = timeout(LINGER, ended).await;
}
