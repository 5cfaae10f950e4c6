//! Sends a request to its upstream: a connection, the request, the head of the answer; again where the table allows it.
//!
//! What must stay true here: the body is given away only on a connection that stands; what may have reached an app goes out
//! again only by the rules of `upstream/retry.rs`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;

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

/// What is sent, in a form that can be sent again.
pub struct Outgoing {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: RequestBody,
    /// How the body goes; `None` without one.
    pub upload: Option<Arc<Upload>>,
}

/// Why one attempt did not end with an answer.
struct Miss {
    failed: Failed,
    failure: Failure,
    reused: bool,
    /// What can be sent again.
    unsent: Option<Outgoing>,
}

/// Tries servers and connections until one answers or the rules say stop.
pub async fn forward(worker: &Worker, servers: &Servers, forward: &Forward, outgoing: Outgoing) -> Result<Answered, Failure> {
    let (method, has_body) = (outgoing.method.clone(), outgoing.upload.is_some());
    let mut candidates = servers.in_turn();
    let mut server = candidates.next().expect("an upstream has a server");
    let mut pooled = true;
    let mut next = Some(outgoing);
    while let Some(outgoing) = next.take() {
        let miss = match attempt(worker, server, forward, outgoing, pooled).await {
            Ok(answered) => return Ok(answered),
            Err(miss) => miss,
        };
        let tried = retry::Attempt {
            failed: miss.failed,
            method: &method,
            has_body,
            reused: miss.reused,
            servers_left: candidates.len(),
        };
        match (retry::next(tried), miss.unsent) {
            (Next::OtherServer, Some(unsent)) => {
                server = candidates.next().expect("the table saw one left");
                next = Some(unsent);
            }
            (Next::FreshConnection, Some(unsent)) => {
                pooled = false;
                next = Some(unsent);
            }
            _ => return Err(miss.failure),
        }
    }
    Err(Failure::Internal)
}

async fn attempt(
    worker: &Worker,
    server: &Arc<Server>,
    forward: &Forward,
    outgoing: Outgoing,
    pooled: bool,
) -> Result<Answered, Miss> {
    let connection = match worker.pool.lend(server).filter(|_| pooled) {
        Some(connection) => connection,
        None => match worker.pool.connect(server, forward.upstream.connect_timeout).await {
            Ok(connection) => connection,
            Err(error) => return Err(not_connected(&error, outgoing)),
        },
    };
    send(connection, forward.response_timeout, outgoing).await
}

fn not_connected(error: &ConnectError, outgoing: Outgoing) -> Miss {
    tracing::warn!(%error, "no connection to the upstream");
    let failure = match error {
        ConnectError::Refused(..) => Failure::UpstreamUnreachable,
        ConnectError::Timeout(..) => Failure::UpstreamTimeout,
    };
    Miss { failed: Failed::Connect, failure, reused: false, unsent: Some(outgoing) }
}

async fn send(mut connection: Connection, patience: Duration, outgoing: Outgoing) -> Result<Answered, Miss> {
    let reused = connection.reused;
    let upload = outgoing.upload.clone();
    // Only what may be sent again is kept: a bodiless, idempotent request on a connection that may be dying.
    let kept = (reused && upload.is_none() && outgoing.method.is_idempotent()).then(|| copy(&outgoing));
    let sent = connection.sender.try_send_request(into_request(outgoing));
    tokio::pin!(sent);
    loop {
        let answered = match patience.is_zero() {
            true => Ok(sent.as_mut().await),
            false => tokio::time::timeout(remaining(patience, upload.as_deref()), sent.as_mut()).await,
        };
        return match answered {
            Ok(Ok(response)) => Ok(Answered { response, connection }),
            Ok(Err(mut error)) => {
                let unsent = error.take_message().map(|request| out_of_request(request, upload.clone()));
                Err(missed(error.error(), upload.as_deref(), reused, unsent, kept))
            }
            // The upstream's time begins when it has the whole request.
            Err(_) if silence(upload.as_deref()).is_some_and(|silence| silence < patience) => continue,
            Err(_) => Err(Miss { failed: Failed::BadAnswer, failure: Failure::UpstreamTimeout, reused, unsent: None }),
        };
    }
}

fn missed(error: &hyper::Error, upload: Option<&Upload>, reused: bool, unsent: Option<Outgoing>, kept: Option<Outgoing>) -> Miss {
    let by_client = match upload.and_then(Upload::end) {
        Some(End::TooLarge) => Some(Failure::BodyTooLarge),
        Some(End::Stalled) => Some(Failure::RequestTimeout),
        Some(End::Broken) if error.is_user() => Some(Failure::BadRequest("the request body is broken off or malformed")),
        _ => None,
    };
    if let Some(failure) = by_client {
        return Miss { failed: Failed::BadAnswer, failure, reused, unsent: None };
    }
    if unsent.is_some() {
        return Miss { failed: Failed::NotSent, failure: Failure::UpstreamUnreachable, reused, unsent };
    }
    tracing::debug!(%error, "the upstream gave no answer");
    if error.is_parse() || error.is_parse_too_large() {
        let failure = Failure::UpstreamProtocol("the answer is no HTTP");
        return Miss { failed: Failed::BadAnswer, failure, reused, unsent: None };
    }
    Miss { failed: Failed::NoAnswer, failure: Failure::UpstreamUnreachable, reused, unsent: kept }
}

fn copy(outgoing: &Outgoing) -> Outgoing {
    Outgoing {
        method: outgoing.method.clone(),
        uri: outgoing.uri.clone(),
        headers: outgoing.headers.clone(),
        body: RequestBody::Empty,
        upload: None,
    }
}

fn into_request(outgoing: Outgoing) -> Request<RequestBody> {
    let mut request = Request::new(outgoing.body);
    *request.method_mut() = outgoing.method;
    *request.uri_mut() = outgoing.uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = outgoing.headers;
    request
}

fn out_of_request(request: Request<RequestBody>, upload: Option<Arc<Upload>>) -> Outgoing {
    let (parts, body) = request.into_parts();
    Outgoing { method: parts.method, uri: parts.uri, headers: parts.headers, body, upload }
}

/// What is left of the upstream's time; it begins again with each byte of the request.
fn remaining(patience: Duration, upload: Option<&Upload>) -> Duration {
    patience.saturating_sub(silence(upload).unwrap_or_default()).max(Duration::from_millis(1))
}

fn silence(upload: Option<&Upload>) -> Option<Duration> {
    upload.map(|upload| upload.upstream_silence(clock::monotonic()))
}
