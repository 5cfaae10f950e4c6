//! One client connection, from its first byte to its end.
//!
//! What must stay true here: every wait on the client has a deadline; what was answered is read by the client before its
//! connection goes (a close with unread bytes would reset it away); and a drain closes no connection that a request may be
//! on its way on.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep_until, timeout};

use super::guarded_io::GuardedIo;
use super::timer::Timer;
use super::{http2, proxy_protocol};
use crate::clock;
use crate::config::Server;
use crate::proxy::client::{Client, Overdue, Phase};
use crate::proxy::client_stream::ClientStream;
use crate::proxy::failure::Failure;
use crate::proxy::handle::handle;
use crate::proxy::unparsed;
use crate::proxy::worker::Worker;

/// How long a kept-alive connection without a request is left open once the gateway drains: a request may be on its way.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(2);
/// How long a client is given to take its last answer while it still sends.
const LINGER: Duration = Duration::from_secs(3);
/// hyper's parser has its own bound on a head; the gateway judges URI and headers apart, with an answer for each.
const HEAD_SLACK: usize = 8 * 1024;
/// The most headers hyper parses without allocating for it.
const FREE_HEADERS: usize = 100;

/// Serves one connection to its end.
pub async fn serve(stream: ClientStream, client: Arc<Client>, worker: Arc<Worker>) {
    // Not the whole snapshot: a connection lives long, and would keep what a reload has taken away.
    let config = Arc::clone(&worker.live.load().config);
    let rules = &config.server;
    let service = {
        let (worker, client) = (Arc::clone(&worker), Arc::clone(&client));
        service_fn(move |request| handle(request, Arc::clone(&worker), Arc::clone(&client)))
    };
    let mut http = builder(rules).serve_connection(GuardedIo::new(stream, Arc::clone(&client)), service);

    let overdue = run(Pin::new(&mut http), &client, rules, &worker).await;

    if overdue == Some(Overdue::Upstream) {
        client.cut_answer();
    }
    let parts = http.into_parts();
    let refused = parts.io.refused();
    let stream = parts.io.into_stream();
    if parts.read_buf.starts_with(http2::PREFACE_LINE) && !client.has_asked() {
        // Never as a later request: before a proxy that shares connections, it would be another client's.
        return Box::pin(http2::serve(stream, parts.read_buf, client, worker)).await;
    }
    if let Some(tunnel) = client.take_tunnel() {
        return tunnel.run(stream, parts.read_buf).await;
    }
    let failure = match overdue {
        Some(Overdue::Head) => Some(Failure::RequestTimeout),
        _ => refused.and_then(|status| match proxy_protocol::is_announced(&parts.read_buf) {
            true => Some(Failure::BadRequest("a PROXY protocol header is not accepted from this address")),
            false => unparsed::failure(status, &parts.read_buf, rules),
        }),
    };
    if let Some(failure) = &failure {
        end_with(stream, &unparsed::answer(failure, &worker, &client)).await;
    } else if client.was_cut() || overdue == Some(Overdue::Write) {
        // An answer that ends with its connection would look whole.
        let _ = stream.tcp().set_zero_linger();
    } else if client.has_unread() || refused.is_some() {
        end_with(stream, b"").await;
    } else if let ClientStream::Tls(mut stream) = stream {
        // Whoever reads until the end must be able to tell it from one that was cut.
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

/// Drives the connection; returns whose slowness ended it, if any's.
async fn run<C>(mut http: Pin<&mut C>, client: &Client, rules: &Server, worker: &Worker) -> Option<Overdue>
where
    C: Future<Output = hyper::Result<()>>,
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
            let deadline = client.deadline(rules).into_iter().chain(idle_end.map(|end| (end, Overdue::Silence)));
            let Some((deadline, overdue)) = deadline.min_by_key(|(at, _)| *at) else { return Poll::Pending };
            if timer.poll(deadline, context).is_pending() {
                return Poll::Pending;
            }
            if clock::monotonic() < deadline {
                continue;
            }
            if !(overdue == Overdue::Upstream && client.tell_overdue_head()) {
                return Poll::Ready(Some(overdue));
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
