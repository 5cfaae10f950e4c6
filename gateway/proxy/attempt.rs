//! Sends a request to its upstream: a connection, the request, the head of the answer; again where the table allows it.
//!
//! What must stay true here: the body is given away only on a connection that stands; what may have reached an app goes out
//! again only by the rules of `upstream/retry.rs`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::client::Client;
use super::failure::Failure;
use super::worker::Worker;
use crate::clock;
use crate::config::Forward;
use crate::upstream::balance::Servers;
use crate::upstream::connect::ConnectError;
use crate::upstream::exchange::{Connection, Download, ExchangeError};
use crate::upstream::http1::{Head, Outgoing};
use crate::upstream::request_body::{End, Upload};
use crate::upstream::retry::{self, Failed, Next};
use crate::upstream::seat::Seat;

/// The head of an answer, its body still to come.
pub struct Answered {
    pub head: Head,
    pub download: Download,
    pub seat: Arc<Seat>,
}

/// What is sent.
pub struct Sending {
    pub request: Outgoing,
    /// How the body goes; `None` without one.
    pub upload: Option<Arc<Upload>>,
    /// It asks for a WebSocket, which is no business of HTTP/2.
    pub for_upgrade: bool,
    /// When the client gives it up, by its own word.
    pub deadline: Option<Instant>,
}

impl Sending {
    /// Nobody waits for its answer any more.
    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Why one attempt did not end with an answer.
struct Miss {
    failed: Failed,
    failure: Failure,
    reused: bool,
}

/// Tries servers and connections until one answers or the rules say stop.
pub async fn forward(
    worker: &Worker,
    client: &Client,
    servers: &Servers,
    forward: &Forward,
    sending: &mut Sending,
    mut now: Instant,
) -> Result<Answered, Failure> {
    let mut candidates = servers.candidates(worker.number);
    let mut seat = candidates.next().expect("an upstream has a server");
    let mut pooled = true;
    loop {
        let miss = match attempt(worker, client, &seat, forward, sending, pooled, now).await {
            Ok((head, connection)) => {
                let download = Download::new(&head, connection, &mut sending.request);
                let download = download.map_err(|malformed| Failure::UpstreamProtocol(malformed.0))?;
                return Ok(Answered { head, download, seat });
            }
            Err(miss) => miss,
        };
        let tried = retry::Attempt {
            failed: miss.failed,
            method: sending.request.method(),
            has_body: sending.upload.is_some(),
            reused: miss.reused,
            servers_left: candidates.left(),
        };
        match retry::next(tried) {
            Next::OtherServer => seat = candidates.next().expect("the table saw one left"),
            Next::FreshConnection => pooled = false,
            Next::GiveUp => return Err(miss.failure),
        }
        sending.request.rewind();
        now = clock::monotonic();
    }
}

async fn attempt(
    worker: &Worker,
    client: &Client,
    seat: &Seat,
    forward: &Forward,
    sending: &mut Sending,
    pooled: bool,
    now: Instant,
) -> Result<(Head, Connection), Miss> {
    let for_upgrade = sending.for_upgrade;
    if for_upgrade && !seat.server.address.takes_upgrades() {
        let failure = Failure::UpstreamProtocol("a WebSocket was asked of a server that speaks HTTP/2");
        return Err(Miss { failed: Failed::Connect, failure, reused: false });
    }
    let lent = if pooled { seat.lend(now, for_upgrade) } else { None };
    let reused = lent.is_some();
    let (mut connection, since) = if let Some(connection) = lent {
        (connection, now)
    } else {
        // In a box, since it is large and rare: every request would carry its size.
        let connected = Box::pin(seat.connect(forward.upstream.connect_timeout, for_upgrade, &worker.tasks)).await;
        (connected.map_err(|error| not_connected(&error))?, clock::monotonic())
    };
    await_head(client, since, forward.response_timeout, sending.deadline);
    let answered = send(&mut connection, client, forward.response_timeout, sending).await;
    client.upstream_has_spoken();
    match answered {
        Ok(head) => Ok((head, connection)),
        Err((failed, failure)) => {
            if failure == Failure::UpstreamTimeout && !sending.is_late(clock::monotonic()) {
                connection.retire();
            }
            Err(Miss { failed, failure, reused })
        }
    }
}

fn not_connected(error: &ConnectError) -> Miss {
    let failure = match error {
        ConnectError::Refused(..) => Failure::UpstreamUnreachable,
        ConnectError::Timeout(..) => Failure::UpstreamTimeout,
    };
    Miss { failed: Failed::Connect, failure, reused: false }
}

/// For so long from `since` on, and no longer than the client waits.
fn await_head(client: &Client, since: Instant, patience: Duration, deadline: Option<Instant>) {
    let left = deadline.map_or(patience, |deadline| deadline.saturating_duration_since(since).min(patience));
    client.await_head(since, left.max(Duration::from_millis(1)));
}

/// The upstream's time begins when it has the whole request: again with each byte of it.
async fn send(
    connection: &mut Connection,
    client: &Client,
    patience: Duration,
    sending: &mut Sending,
) -> Result<Head, (Failed, Failure)> {
    poll_fn(|context| {
        if let Poll::Ready(answered) = connection.poll_answer(&mut sending.request, context) {
            return Poll::Ready(answered.map_err(|error| missed(&error)));
        }
        if !client.head_is_overdue() {
            return Poll::Pending;
        }
        let now = clock::monotonic();
        match sending.upload.as_deref().map(|upload| upload.upstream_silence(now)) {
            Some(silence) if silence < patience && !sending.is_late(now) => {
                await_head(client, now.checked_sub(silence).unwrap_or(now), patience, sending.deadline);
                Poll::Pending
            }
            _ => Poll::Ready(Err((Failed::BadAnswer, Failure::UpstreamTimeout))),
        }
    })
    .await
}

fn missed(error: &ExchangeError) -> (Failed, Failure) {
    tracing::debug!(%error, "the upstream gave no answer");
    match error {
        ExchangeError::NotSent(_) => (Failed::NotSent, Failure::UpstreamUnreachable),
        ExchangeError::NoAnswer(_) => (Failed::NoAnswer, Failure::UpstreamUnreachable),
        ExchangeError::BrokeOff(_) => (Failed::BadAnswer, Failure::UpstreamProtocol("the answer's head broke off")),
        ExchangeError::Reset(_) => (Failed::BadAnswer, Failure::UpstreamProtocol("the stream was reset")),
        ExchangeError::Malformed(malformed) => (Failed::BadAnswer, Failure::UpstreamProtocol(malformed.0)),
        ExchangeError::RequestBody(body) => (Failed::BadAnswer, ended_as(body.0)),
    }
}

fn ended_as(end: End) -> Failure {
    match end {
        End::TooLarge => Failure::BodyTooLarge,
        End::Stalled => Failure::RequestTimeout,
        End::Broken | End::Left | End::Complete => Failure::BadRequest("the request body is broken off or malformed"),
    }
}
