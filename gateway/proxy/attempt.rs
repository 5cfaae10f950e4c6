//! Sends a request to its upstream: a connection, the request, the head of the answer; again where the table allows it.
//!
//! What must stay true here: the body is given away only on a connection that stands; what may have reached an app goes out
//! again only by the rules of `upstream/retry.rs`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::failure::Failure;
use super::worker::Worker;
use crate::clock;
use crate::config::Forward;
use crate::upstream::balance::{Server, Servers};
use crate::upstream::http1::{Connection, Download, ExchangeError, Head, Outgoing};
use crate::upstream::pool::ConnectError;
use crate::upstream::request_body::{End, Upload};
use crate::upstream::retry::{self, Failed, Next};

/// The head of an answer, its body still to come.
pub struct Answered {
    pub head: Head,
    pub download: Download,
    pub server: Arc<Server>,
}

/// What is sent.
pub struct Sending {
    pub request: Outgoing,
    /// How the body goes; `None` without one.
    pub upload: Option<Arc<Upload>>,
}

/// Why one attempt did not end with an answer.
struct Miss {
    failed: Failed,
    failure: Failure,
    reused: bool,
}

/// Tries servers and connections until one answers or the rules say stop.
pub async fn forward(worker: &Worker, servers: &Servers, forward: &Forward, mut sending: Sending) -> Result<Answered, Failure> {
    let mut candidates = servers.in_turn();
    let mut server = candidates.next().expect("an upstream has a server");
    let mut pooled = true;
    loop {
        let miss = match attempt(worker, server, forward, &mut sending, pooled).await {
            Ok((head, connection)) => {
                let download = Download::new(&head, connection, sending.request);
                let download = download.map_err(|malformed| Failure::UpstreamProtocol(malformed.0))?;
                return Ok(Answered { head, download, server: Arc::clone(server) });
            }
            Err(miss) => miss,
        };
        let tried = retry::Attempt {
            failed: miss.failed,
            method: sending.request.method(),
            has_body: sending.upload.is_some(),
            reused: miss.reused,
            servers_left: candidates.len(),
        };
        match retry::next(tried) {
            Next::OtherServer => server = candidates.next().expect("the table saw one left"),
            Next::FreshConnection => pooled = false,
            Next::GiveUp => return Err(miss.failure),
        }
        sending.request.rewind();
    }
}

async fn attempt(
    worker: &Worker,
    server: &Server,
    forward: &Forward,
    sending: &mut Sending,
    pooled: bool,
) -> Result<(Head, Connection), Miss> {
    let lent = if pooled { worker.pool.lend(server) } else { None };
    let reused = lent.is_some();
    let mut connection = match lent {
        Some(connection) => connection,
        None => worker.pool.connect(server, forward.upstream.connect_timeout).await.map_err(|error| not_connected(&error))?,
    };
    match send(&mut connection, forward.response_timeout, sending).await {
        Ok(head) => Ok((head, connection)),
        Err((failed, failure)) => Err(Miss { failed, failure, reused }),
    }
}

fn not_connected(error: &ConnectError) -> Miss {
    let failure = match error {
        ConnectError::Refused(..) => Failure::UpstreamUnreachable,
        ConnectError::Timeout(..) => Failure::UpstreamTimeout,
    };
    Miss { failed: Failed::Connect, failure, reused: false }
}

async fn send(connection: &mut Connection, patience: Duration, sending: &mut Sending) -> Result<Head, (Failed, Failure)> {
    let Sending { request, upload } = sending;
    let upload = upload.as_deref();
    let mut answer = pin!(poll_fn(|context| connection.poll_answer(request, context)));
    loop {
        return match tokio::time::timeout(remaining(patience, upload), answer.as_mut()).await {
            Ok(answered) => answered.map_err(|error| missed(&error)),
            // The upstream's time begins when it has the whole request.
            Err(_) if silence(upload).is_some_and(|silence| silence < patience) => continue,
            Err(_) => Err((Failed::BadAnswer, Failure::UpstreamTimeout)),
        };
    }
}

fn missed(error: &ExchangeError) -> (Failed, Failure) {
    tracing::debug!(%error, "the upstream gave no answer");
    match error {
        ExchangeError::NotSent(_) => (Failed::NotSent, Failure::UpstreamUnreachable),
        ExchangeError::NoAnswer(_) => (Failed::NoAnswer, Failure::UpstreamUnreachable),
        ExchangeError::BrokeOff(_) => (Failed::BadAnswer, Failure::UpstreamProtocol("the answer's head broke off")),
        ExchangeError::Malformed(malformed) => (Failed::BadAnswer, Failure::UpstreamProtocol(malformed.0)),
        ExchangeError::RequestBody(body) => (Failed::BadAnswer, ended_as(body.0)),
    }
}

fn ended_as(end: End) -> Failure {
    match end {
        End::TooLarge => Failure::BodyTooLarge,
        End::Stalled => Failure::RequestTimeout,
        End::Broken | End::Complete => Failure::BadRequest("the request body is broken off or malformed"),
    }
}

/// What is left of the upstream's time; it begins again with each byte of the request.
fn remaining(patience: Duration, upload: Option<&Upload>) -> Duration {
    patience.saturating_sub(silence(upload).unwrap_or_default()).max(Duration::from_millis(1))
}

fn silence(upload: Option<&Upload>) -> Option<Duration> {
    upload.map(|upload| upload.upstream_silence(clock::monotonic()))
}
