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
/// How long a connection without a request keeps what it needs for one: buffers and the state of HTTP, some 20 KiB. Milliseconds.
const REST_AFTER: u64 = 1_000;
/// How long a client is given to take its last answer while it still sends.
const LINGER: Duration = Duration::from_secs(3);
/// hyper's parser has its own bound on a head; the gateway judges URI and headers apart, with an answer for each.
const HEAD_SLACK: usize = 8 * 1024;
/// The most headers hyper parses without allocating for it.
const FREE_HEADERS: usize = 100;

type Http<S> = http1::Connection<GuardedIo, S>;

/// What is left of a connection when hyper has let go of it.
struct Left {
    stream: ClientStream,
    /// What came and was not taken as a request.
    unread: Bytes,
    /// The status of what hyper would not take.
    refused: Option<u16>,
    overdue: Option<Overdue>,
}

/// Serves one connection to its end. Between requests it soon comes to rest, and holds little more than its socket.
pub async fn serve(mut stream: ClientStream, client: Arc<Client>, worker: Arc<Worker>) {
    let mut early = Bytes::new();
    loop {
        // Boxed, to be gone while the connection rests.
        let left = Box::pin(talk(stream, early, &client, &worker)).await;
        if left.overdue != Some(Overdue::Rest) {
            return Box::pin(end(left, client, worker)).await;
        }
        (stream, early) = (left.stream, left.unread);
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

/// Answers requests until the connection has ended or may rest.
async fn talk(stream: ClientStream, early: Bytes, client: &Arc<Client>, worker: &Arc<Worker>) -> Left {
    // Not the whole snapshot: a connection lives long, and would keep what a reload has taken away.
    let config = Arc::clone(&worker.live.load().config);
    let rules = &config.server;
    let service = service_fn(|request| handle(request, worker, client));
    let mut http = builder(rules).serve_connection(GuardedIo::new(stream, early, Arc::clone(client)), service);

    let overdue = run(Pin::new(&mut http), client, rules, worker).await;

    if overdue == Some(Overdue::Upstream) {
        client.cut_answer();
    }
    let parts = http.into_parts();
    let refused = parts.io.refused();
    let (stream, early) = parts.io.into_parts();
    Left { stream, unread: joined(parts.read_buf, early), refused, overdue }
}

/// Of bytes without any, the buffer that they were read into is let go.
fn joined(first: Bytes, then: Bytes) -> Bytes {
    match (first.is_empty(), then.is_empty()) {
        (true, true) => Bytes::new(),
        (true, false) => then,
        (false, true) => first,
        (false, false) => [first, then].concat().into(),
    }
}

/// What becomes of a connection that HTTP/1 is done with: another protocol's, or ended so that the client learns what it has to.
async fn end(left: Left, client: Arc<Client>, worker: Arc<Worker>) {
    let Left { stream, unread, refused, overdue } = left;
    if unread.starts_with(http2::PREFACE_LINE) && !client.has_asked() {
        // Never as a later request: before a proxy that shares connections, it would be another client's.
        http2::serve(stream, unread, client, worker).await;
    } else if let Some(tunnel) = client.take_tunnel() {
        tunnel.run(stream, unread).await;
    } else if let Some(failure) = failure(overdue, refused, &unread, &worker) {
        end_with(stream, &unparsed::answer(&failure, &worker, &client)).await;
    } else if client.was_cut() || overdue == Some(Overdue::Write) {
        // An answer that ends with its connection would look whole.
        let _ = stream.tcp().set_zero_linger();
    } else if client.has_unread() || refused.is_some() {
        end_with(stream, b"").await;
    } else {
        close(stream).await;
    }
}

/// What the client is told of bytes that are no request; `None`: nothing.
fn failure(overdue: Option<Overdue>, refused: Option<u16>, unread: &[u8], worker: &Worker) -> Option<Failure> {
    if overdue == Some(Overdue::Head) {
        return Some(Failure::RequestTimeout);
    }
    let status = refused?;
    match proxy_protocol::is_announced(unread) {
        true => Some(Failure::BadRequest("a PROXY protocol header is not accepted from this address")),
        false => unparsed::failure(status, unread, &worker.live.load().config.server),
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
    builder.writev(false).half_close(true).max_buf_size(rules.max_header_bytes + rules.max_uri_bytes + HEAD_SLACK);
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
                drain_until = Some(client.millis_at(clock::monotonic() + DRAIN_IDLE));
            }
        }
        if http.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        client.time_head();
        loop {
            let between = match drain_until {
                Some(end) => matches!(client.phase(), Phase::Idle | Phase::Fresh).then_some((end, Overdue::Silence)),
                None => client.idle_since().map(|since| (since + REST_AFTER, Overdue::Rest)),
            };
            let due = client.due(rules).into_iter().chain(between).min_by_key(|(at, _)| *at);
            let Some((deadline, overdue)) = due.map(|(at, overdue)| (client.at(at), overdue)) else { return Poll::Pending };
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
            client.time_head();
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
