//! What is answered to bytes that never became a request: refused by hyper's parser, or too slow to come.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::client::Client;
use super::failure::Failure;
use super::handle::request_id;
use super::respond;
use super::worker::Worker;
use crate::config::Server;
use crate::observe::metrics::{Finished, RouteLabel};

/// What hyper's status for it means here. `unread` begins with the head that was refused.
pub fn failure(status: u16, unread: &[u8], rules: &Server) -> Failure {
    let line = unread.split(|&byte| byte == b'\n').next().unwrap_or_default();
    match status {
        414 => Failure::UriTooLong,
        431 if line.len() > rules.max_uri_bytes => Failure::UriTooLong,
        431 => Failure::HeaderTooLarge,
        _ => Failure::BadRequest("the request is malformed"),
    }
}

/// The answer as bytes; counted and logged like any other.
pub fn answer(failure: &Failure, worker: &Arc<Worker>, client: &Client) -> Vec<u8> {
    let request_id = request_id(&HeaderMap::new());
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
    if worker.live.load().config.log.access {
        tracing::info!(
            target: "access",
            request_id = request_id.to_str().unwrap_or_default(),
            client = %client.peer.ip(),
            status = status.as_u16(),
            code = failure.code(),
        );
    }
    respond::on_the_wire(failure, &request_id)
}
