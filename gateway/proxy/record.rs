//! What is remembered of one request: opened when it arrives, closed exactly once.
//!
//! What must stay true here: closing happens in `Drop` and nowhere else, so a request whose client left, or whose task was
//! cut, still ends once, with 499. That one close feeds usage, the access log, the metrics and the refusals.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode, Uri};
use hyper::body::Incoming;

use super::client::{Client, Phase};
use super::failure::{Failure, Fault};
use super::request_id::RequestId;
use super::target;
use super::worker::{Live, Worker};
use crate::auth::known_key::{KnownKey, SharedKey, Text};
use crate::clock::{self, Moment};
use crate::limits::pace::Slot;
use crate::model::usage_event::UsageEvent;
use crate::observe::metrics::{AuthResult, Finished, RouteLabel, UpstreamLabel, UpstreamResult};
use crate::observe::refusals::{RefusedKey, RefusedRequest, bounded};
use crate::upstream::request_body::{End, Upload};

/// The client left before its answer was complete. Not a registered code; nginx's.
const CLIENT_LEFT: u16 = 499;

pub struct Record {
    worker: Arc<Worker>,
    client: Arc<Client>,
    /// There is to be a line of it in the access log.
    is_logged: bool,
    pub request_id: RequestId,
    method: Method,
    uri: Uri,
    /// When the request arrived: the instant that its key is judged at.
    pub arrived: Moment,
    pub route: RouteLabel,
    pub client_ip: Option<IpAddr>,
    pub auth: Option<AuthResult>,
    /// The key that was presented, also where it lets nobody in.
    pub key: Option<SharedKey>,
    /// Set once the request is admitted with its key.
    pub is_usage: bool,
    /// Its place among those that its key or address may have under way.
    pub slot: Option<Slot>,
    /// Set when the request goes to an upstream.
    pub upstream: Option<(UpstreamLabel, UpstreamResult)>,
    /// Time spent waiting for the upstream's head and the client's body.
    pub waited: Duration,
    pub upload: Option<Arc<Upload>>,
    pub response_bytes: u64,
    failed: Option<Failed>,
    answering: StatusCode,
    /// When the whole answer had been handed over; `None` until then.
    ended: Option<Instant>,
}

/// What went wrong.
#[derive(Clone, Copy)]
struct Failed {
    code: &'static str,
    reason: &'static str,
    fault: Fault,
}

impl Record {
    /// Boxed, since it moves from place to place with its answer.
    pub fn open(
        worker: &Arc<Worker>,
        client: &Arc<Client>,
        live: &Live,
        request: &Request<Incoming>,
        request_id: RequestId,
    ) -> Box<Self> {
        worker.shard.in_flight.raise();
        Box::new(Self {
            is_logged: live.config.log.access,
            worker: Arc::clone(worker),
            client: Arc::clone(client),
            request_id,
            method: request.method().clone(),
            uri: request.uri().clone(),
            arrived: Moment::now(),
            route: RouteLabel::NONE,
            client_ip: None,
            auth: None,
            key: None,
            is_usage: false,
            slot: None,
            upstream: None,
            waited: Duration::ZERO,
            upload: None,
            response_bytes: 0,
            failed: None,
            answering: StatusCode::INTERNAL_SERVER_ERROR,
            ended: None,
        })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The head of this answer is going out.
    pub fn answering(&mut self, status: StatusCode) {
        self.answering = status;
    }

    /// The whole answer was handed over.
    pub fn complete(&mut self, now: Instant) {
        self.ended = Some(now);
    }

    /// The answer is ours, and says why.
    pub fn fail(&mut self, failure: &Failure) {
        self.auth = failure.auth_result().or(self.auth);
        self.failed = Some(Failed { code: failure.code(), reason: failure.reason(), fault: failure.fault() });
    }

    /// The upstream failed after the head had gone out: the client has seen this status, and that the answer is cut.
    pub fn cut(&mut self, failure: &Failure, result: UpstreamResult) {
        self.complete(clock::monotonic());
        self.fail(failure);
        if let Some((_, upstream)) = &mut self.upstream {
            *upstream = result;
        }
    }

    /// Who breaks off an upload has left, whatever is answered.
    fn status(&self) -> StatusCode {
        let has_left = self.upload.as_ref().is_some_and(|upload| upload.end() == Some(End::Left));
        let left = || StatusCode::from_u16(CLIENT_LEFT).expect("three digits");
        if self.ended.is_some() && !has_left { self.answering } else { left() }
    }

    fn finish(&self, duration: Duration) {
        self.worker.shard.finish(&Finished {
            route: self.route,
            method: Some(&self.method),
            status: self.status(),
            auth: self.auth,
            upstream: self.upstream,
            duration,
            overhead: duration.saturating_sub(self.waited),
        });
    }

    fn record_usage(&self, key: &KnownKey, duration: Duration) {
        let Some(recorder) = &self.worker.recorder else { return };
        recorder.record(&UsageEvent {
            key_id: key.key_id().as_str(),
            request_id: self.request_id.as_str(),
            method: self.method.as_str(),
            endpoint: target::path(&self.uri),
            status: self.status().as_u16(),
            timestamp: self.arrived.wall,
            response_micros: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            request_bytes: self.upload.as_ref().map_or(0, |upload| upload.bytes()),
            response_bytes: self.response_bytes,
            client_ip: self.client_ip,
        });
    }

    /// One line. The query is left out: an app's own secrets may stand in it.
    fn log(&self, duration: Duration) {
        let key = self.key.as_ref();
        // To the microsecond.
        let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        tracing::info!(
            target: "access",
            request_id = self.request_id.as_str(),
            client = self.client_ip.map(tracing::field::display),
            method = self.method.as_str(),
            path = target::path(&self.uri),
            status = self.status().as_u16(),
            duration_ms = millis(duration),
            upstream_ms = millis(self.waited),
            request_bytes = self.upload.as_ref().map_or(0, |upload| upload.bytes()),
            response_bytes = self.response_bytes,
            key_id = key.map(|key| key.key_id().as_str()),
            user_id = key.map(|key| key.user_id()),
            code = self.failed.map(|failed| failed.code),
            fault = self.failed.map(|failed| tracing::field::debug(failed.fault)),
        );
    }

    /// The upstream's failures refuse nobody.
    fn record_refusal(&self) {
        let Some(failed) = self.failed.filter(|failed| failed.fault != Fault::Upstream) else { return };
        let key = self.key.as_ref();
        let is_revoked = self.auth == Some(AuthResult::Inactive) && key.is_some_and(|key| key.validity().is_revoked);
        self.worker.refusals.push(RefusedRequest {
            at: self.arrived.wall,
            code: failed.code,
            reason: if is_revoked { "revoked" } else { failed.reason },
            status: self.status().as_u16(),
            key: key.map(|key| RefusedKey {
                key_id: key.key_id().clone(),
                user_id: key.user_id().into(),
                name: key.text(Text::Name).to_owned(),
            }),
            client_ip: self.client_ip,
            method: bounded(self.method.as_str()),
            path: bounded(target::path(&self.uri)),
            route: self.route,
            request_id: self.request_id.as_str().to_owned(),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(clock::monotonic);
        let duration = now.duration_since(self.arrived.monotonic);
        self.finish(duration);
        if let Some(key) = self.key.as_ref().filter(|_| self.is_usage) {
            self.record_usage(key, duration);
        }
        self.record_refusal();
        if self.is_logged {
            self.log(duration);
        }
        // A client that was answered early may still be sending.
        if self.upload.as_ref().is_none_or(|upload| upload.end().is_some()) {
            self.client.enter(Phase::Idle, now);
        }
        self.worker.shard.in_flight.lower();
    }
}
