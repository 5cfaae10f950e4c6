//! The way of an admitted request to its upstream, and of the answer back.

use std::sync::Arc;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use super::answer_body::{AnswerBody, StreamedAnswer};
use super::attempt::{self, Answered, Sending};
use super::failure::Failure;
use super::handle::Exchange;
use super::request_headers::RequestHeaders;
use super::tunnel::Tunnel;
use super::{grpc, headers, target};
use crate::clock;
use crate::config::{Forward, Route, Scheme};
use crate::model::address::ClientIp;
use crate::observe::metrics::UpstreamResult;
use crate::reserved_headers::ReservedHeaders;
use crate::upstream::balance::Servers;
use crate::upstream::http1::{Head, Outgoing, RequestHead};
use crate::upstream::request_body::{RequestBody, Upload};

/// Where a request goes, and by which rules.
pub struct Passage<'a> {
    pub route: &'a Route,
    pub forward: &'a Forward,
    pub servers: &'a Servers,
    /// The client said which host it asks.
    pub has_host: bool,
    /// The client asks for a WebSocket.
    pub websocket: bool,
    /// Who asks; `None` when that cannot be told.
    pub address: Option<ClientIp>,
    pub scheme: Scheme,
    pub peer_is_trusted: bool,
}

impl Passage<'_> {
    pub(super) async fn forward(
        &self,
        exchange: &mut Exchange<'_>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Failure> {
        let arrived = exchange.record().arrived.monotonic;
        let deadline = if exchange.is_grpc { grpc::deadline(request.headers(), arrived) } else { None };
        let mut sending = self.sending(exchange, request, deadline);
        let record = exchange.record();
        record.upload.clone_from(&sending.upload);
        record.upstream = Some((self.servers.label, UpstreamResult::Abandoned));
        let began = clock::monotonic();
        let answered = attempt::forward(exchange.worker, exchange.client, self.servers, self.forward, &mut sending, began).await;
        let now = clock::monotonic();
        exchange.answered_at = exchange.record().arrived.wall_at(now);
        let record = exchange.record();
        record.waited = now.duration_since(began);
        let result = answered.as_ref().map_or_else(Failure::upstream_result, |_| UpstreamResult::Ok);
        record.upstream = Some((self.servers.label, result));
        match answered? {
            answered if answered.head.status == StatusCode::SWITCHING_PROTOCOLS => self.switch(exchange, answered),
            answered => Ok(self.stream(exchange, answered)),
        }
    }

    fn sending(&self, exchange: &mut Exchange<'_>, request: Request<Incoming>, deadline: Option<Instant>) -> Sending {
        let (live, config) = (exchange.live, &*exchange.live.config);
        let target = target::forwarded(target::without_keys(&request, self.route, config), self.route, self.forward);
        let mut head = RequestHead::new(request.method().clone(), &target);
        // HTTP/1.0 knows requests without a host; HTTP/1.1, which goes on from here, does not.
        let fallback = || (!self.has_host).then(|| self.servers.host());
        let host = self.forward.host.clone().or_else(fallback);
        let headers = RequestHeaders {
            received: request.headers(),
            client: exchange.client,
            address: self.address,
            scheme: self.scheme,
            peer_is_trusted: self.peer_is_trusted,
            speaks_forwarded: config.client_address.speaks_forwarded(),
            request_id: &exchange.record.as_ref().expect("the record is there until the answer is").request_id,
            rules: &self.route.request_headers,
            reserved: &live.reserved,
            cut: (!self.route.forward_credentials).then(|| (self.route.reads_keys_from(), config.keys.prefix.as_str())),
            host: host.as_ref(),
            websocket: self.websocket,
            identity: exchange.admitted.as_ref().map(|(key, _)| (&**key, &config.identity_headers)),
        };
        headers.write(&mut head);
        let (parts, incoming) = request.into_parts();
        let (body, upload) = self.body(incoming, exchange.is_grpc, &live.reserved).unzip();
        if let Some(upload) = &upload {
            exchange.client.uploads(upload);
        }
        let request = Outgoing::new(head, body).reusing(parts.headers);
        Sending { request, upload, for_upgrade: self.websocket, deadline }
    }

    fn body(&self, incoming: Incoming, is_grpc: bool, reserved: &Arc<ReservedHeaders>) -> Option<(RequestBody, Arc<Upload>)> {
        if incoming.is_end_stream() {
            return None;
        }
        let upload = Arc::new(Upload::new(clock::monotonic()));
        let stall = if is_grpc { self.route.stream_idle_timeout } else { self.route.request_body_timeout };
        let limit = self.route.max_body_bytes;
        Some((RequestBody::new(incoming, Arc::clone(&upload), limit, stall, Arc::clone(reserved)), upload))
    }

    /// The upstream's answer, its body still to come.
    fn stream(&self, exchange: &mut Exchange<'_>, answered: Answered) -> Response<AnswerBody> {
        let Answered { head: Head { status, mut headers, .. }, download, seat } = answered;
        let goes_both_ways = exchange.is_grpc || is_event_stream(&headers);
        let patience = match goes_both_ways {
            true => self.route.stream_idle_timeout,
            false => self.forward.response_body_timeout,
        };
        self.finish_head(&mut headers);
        let mut record = exchange.record.take().expect("the record is there until the answer is");
        record.answering(status);
        if record.upload.as_ref().is_some_and(|upload| upload.end().is_none()) {
            // An answer before the end of the upload: what is left of that is no next request.
            exchange.client.leave_unread();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(upload) = record.upload.as_ref().filter(|_| goes_both_ways) {
            upload.leave_pauses_to_the_answer();
        }
        let mut body = StreamedAnswer {
            download,
            seat: Some(seat),
            record: Some(record),
            patience,
            uploaded: goes_both_ways.then_some(0),
            broken: None,
        };
        if body.download.is_end_stream() {
            body.end();
        }
        answer(status, headers, AnswerBody::Streamed(body))
    }

    /// The upstream agreed to a WebSocket: the connection becomes a tunnel once this head is written.
    fn switch(&self, exchange: &mut Exchange<'_>, answered: Answered) -> Result<Response<AnswerBody>, Failure> {
        let Answered { head: Head { status, mut headers, hop_by_hop, .. }, download, seat } = answered;
        if !self.websocket || !hop_by_hop.is_websocket() {
            return Err(Failure::UpstreamProtocol("101 to a request that asked for nothing of the kind"));
        }
        let connection = download.into_connection().expect("a connection stays with a body that was not read");
        self.finish_head(&mut headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let mut record = exchange.record.take().expect("the record is there until the answer is");
        record.answering(status);
        exchange.client.open_tunnel(Tunnel::new(connection, seat, record, self.route.stream_idle_timeout));
        Ok(answer(status, headers, AnswerBody::Empty))
    }

    fn finish_head(&self, headers: &mut HeaderMap) {
        headers::apply(&self.route.response_headers, headers);
    }
}

fn answer(status: StatusCode, headers: HeaderMap, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..EVENT_STREAM.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}
