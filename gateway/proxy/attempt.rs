//! Sends a request to its upstream: a connection, the request, the head of the answer; again where the table allows it.
//!
//! What must stay true here: the body is given away only on a connection that stands; what may have reached an app goes out
//! again only by the rules of `upstream/retry.rs`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::failure::Failure;
use super::worker::Worker;
use crate::clock;
use crate::config::Forward;
use crate::upstream::balance::{Server, Servers};
use crate::upstream::pool::{ConnectError, Connection};
use crate::upstream::request_body::{End, RequestBody, Upload};
use crate::upstream::retry::{self, Failed, Next};

/// The head of an answer, and the connection that its body still comes on.
pub struct Answered {
    pub response: Response<Incoming>,
    pub connection: Connection,
}

/// What is sent.
pub struct Outgoing {
    /// Taken by an attempt; there again after it where it may be sent again.
    pub request: Option<Request<RequestBody>>,
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
pub async fn forward(worker: &Worker, servers: &Servers, forward: &Forward, mut outgoing: Outgoing) -> Result<Answered, Failure> {
    let method = outgoing.request.as_ref().map(Request::method).cloned().unwrap_or_default();
    let mut candidates = servers.in_turn();
    let mut server = candidates.next().expect("an upstream has a server");
    let mut pooled = true;
    loop {
        let miss = match attempt(worker, server, forward, &mut outgoing, pooled).await {
            Ok(answered) => return Ok(answered),
            Err(miss) => miss,
        };
        let tried = retry::Attempt {
            failed: miss.failed,
            method: &method,
            has_body: outgoing.upload.is_some(),
            reused: miss.reused,
            servers_left: candidates.len(),
        };
        match retry::next(tried) {
            _ if outgoing.request.is_none() => return Err(miss.failure),
            Next::OtherServer => server = candidates.next().expect("the table saw one left"),
            Next::FreshConnection => pooled = false,
            Next::GiveUp => return Err(miss.failure),
        }
    }
}

async fn attempt(
    worker: &Worker,
    server: &Arc<Server>,
    forward: &Forward,
    outgoing: &mut Outgoing,
    pooled: bool,
) -> Result<Answered, Miss> {
    let lent = if pooled { worker.pool.lend(server) } else { None };
    let connection = match lent {
        Some(connection) => connection,
        None => worker.pool.connect(server, forward.upstream.connect_timeout).await.map_err(|error| not_connected(&error))?,
    };
    send(connection, forward.response_timeout, outgoing).await
}

fn not_connected(error: &ConnectError) -> Miss {
    tracing::warn!(%error, "no connection to the upstream");
    let failure = match error {
        ConnectError::Refused(..) => Failure::UpstreamUnreachable,
        ConnectError::Timeout(..) => Failure::UpstreamTimeout,
    };
    Miss { failed: Failed::Connect, failure, reused: false }
}

async fn send(mut connection: Connection, patience: Duration, outgoing: &mut Outgoing) -> Result<Answered, Miss> {
    let reused = connection.reused;
    let request = outgoing.request.take().expect("an attempt is made only with something to send");
    if retry::may_go_twice(request.method(), outgoing.upload.is_some(), reused) {
        outgoing.request = Some(copy(&request));
    }
    let mut sent = pin!(connection.sender.try_send_request(request));
    loop {
        let upload = outgoing.upload.as_deref();
        let answered = match patience.is_zero() {
            true => Ok(sent.as_mut().await),
            false => tokio::time::timeout(remaining(patience, upload), sent.as_mut()).await,
        };
        return match answered {
            Ok(Ok(response)) => Ok(Answered { response, connection }),
            Ok(Err(error)) => Err(missed(error, outgoing, reused)),
            // The upstream's time begins when it has the whole request.
            Err(_) if silence(upload).is_some_and(|silence| silence < patience) => continue,
            Err(_) => Err(Miss { failed: Failed::BadAnswer, failure: Failure::UpstreamTimeout, reused }),
        };
    }
}

fn missed(mut error: TrySendError<Request<RequestBody>>, outgoing: &mut Outgoing, reused: bool) -> Miss {
    let unsent = error.take_message();
    let error = error.into_error();
    let by_client = match outgoing.upload.as_deref().and_then(Upload::end) {
        Some(End::TooLarge) => Some(Failure::BodyTooLarge),
        Some(End::Stalled) => Some(Failure::RequestTimeout),
        Some(End::Broken) if error.is_user() => Some(Failure::BadRequest("the request body is broken off or malformed")),
        _ => None,
    };
    if let Some(failure) = by_client {
        return Miss { failed: Failed::BadAnswer, failure, reused };
    }
    if unsent.is_some() {
        outgoing.request = unsent;
        return Miss { failed: Failed::NotSent, failure: Failure::UpstreamUnreachable, reused };
    }
    tracing::debug!(%error, "the upstream gave no answer");
    if error.is_parse() || error.is_parse_too_large() {
        return Miss { failed: Failed::BadAnswer, failure: Failure::UpstreamProtocol("the answer is no HTTP"), reused };
    }
    Miss { failed: Failed::NoAnswer, failure: Failure::UpstreamUnreachable, reused }
}

fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// What is left of the upstream's time; it begins again with each byte of the request.
fn remaining(patience: Duration, upload: Option<&Upload>) -> Duration {
    patience.saturating_sub(silence(upload).unwrap_or_default()).max(Duration::from_millis(1))
}

fn silence(upload: Option<&Upload>) -> Option<Duration> {
    upload.map(|upload| upload.upstream_silence(clock::monotonic()))
}
