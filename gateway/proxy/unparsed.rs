//! What is answered to bytes that never became a request: refused by hyper's parser, or too slow to come.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::client::Client;
use super::failure::Failure;
use super::request_id::RequestId;
use super::respond;
use super::worker::Worker;
use crate::clock;
use crate::config::Server;
use crate::observe::metrics::{Finished, RouteLabel};
use crate::observe::refusals::RefusedRequest;

/// What hyper's status for it means here. `unread` begins with the head that was refused. `None`: the client speaks another
/// protocol than HTTP/1 and would not understand an answer, as with a wrong preface of HTTP/2 (RFC 9113 3.4).
pub fn failure(status: u16, unread: &[u8], rules: &Server) -> Option<Failure> {
    let line = unread.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    match status {
        414 => Some(Failure::UriTooLong),
        431 if line.len() > rules.max_uri_bytes => Some(Failure::UriTooLong),
        431 => Some(Failure::HeaderTooLarge),
        _ if is_of_another_protocol(line) => None,
        _ => Some(Failure::BadRequest("the request is malformed")),
    }
}

/// A whole line of three words, as requests begin, without the slash of `HTTP/1.1`.
fn is_of_another_protocol(line: &[u8]) -> bool {
    line.ends_with(b"\n") && !line.contains(&b'/') && line.split(|&byte| byte == b' ').count() == 3
}

/// The answer as bytes; counted, logged and told to operators like any other.
pub fn answer(failure: &Failure, worker: &Arc<Worker>, client: &Client) -> Vec<u8> {
    let request_id = RequestId::of(&HeaderMap::new());
    let (status, _) = respond::words(failure);
    worker.shard.finish(&Finished {
        route: RouteLabel::NONE,
        method: None,
        status,
        auth: None,
        upstream: None,
        duration: Duration::ZERO,
        overhead: Duration::ZERO,
    });
    worker.refusals.push(RefusedRequest {
        at: clock::now(),
        code: failure.code(),
        reason: failure.reason(),
        status: status.as_u16(),
        key: None,
        client_ip: Some(client.peer.ip()),
        method: String::new(),
        path: String::new(),
        route: RouteLabel::NONE,
        request_id: request_id.as_str().to_owned(),
    });
    if worker.live.load().config.log.access {
        tracing::info!(
            target: "access",
            request_id = request_id.as_str(),
            client = %client.peer.ip(),
            status = status.as_u16(),
            code = failure.code(),
        );
    }
    respond::on_the_wire(failure, &request_id)
}
