//! The way of an admitted request to its upstream, and of the answer back.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::answer_body::{AnswerBody, StreamedAnswer};
use super::attempt::{self, Answered, Outgoing};
use super::failure::Failure;
use super::handle::Exchange;
use super::tunnel::Tunnel;
use super::{framing, headers, target};
use crate::clock;
use crate::config::{Forward, Route};
use crate::observe::metrics::UpstreamResult;
use crate::reserved_headers::ReservedHeaders;
use crate::upstream::balance::Servers;
use crate::upstream::request_body::{RequestBody, Upload};

/// Where a request goes, and by which rules.
pub struct Passage<'a> {
    pub route: &'a Route,
    pub forward: &'a Forward,
    pub servers: &'a Servers,
    /// The client asks for a WebSocket.
    pub websocket: bool,
}

impl Passage<'_> {
    /// The request's headers are already as the upstream shall see them.
    pub(super) async fn forward(
        &self,
        exchange: &mut Exchange<'_>,
        request: Request<Incoming>,
        target: &PathAndQuery,
    ) -> Result<Response<AnswerBody>, Failure> {
        let outgoing = self.outgoing(request, target, &exchange.live.reserved);
        let record = exchange.record();
        record.upload.clone_from(&outgoing.upload);
        record.upstream = Some((self.servers.label, UpstreamResult::Abandoned));
        let began = clock::monotonic();
        let answered = attempt::forward(exchange.worker, self.servers, self.forward, outgoing).await;
        let answered = answered.and_then(|answered| framing::check_response(&answered.response).map(|()| answered));
        let record = exchange.record();
        record.waited = clock::monotonic().duration_since(began);
        let result = answered.as_ref().map_or_else(Failure::upstream_result, |_| UpstreamResult::Ok);
        record.upstream = Some((self.servers.label, result));
        match answered? {
            Answered { response, .. } if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.switch(exchange, response).await
            }
            answered => Ok(self.stream(exchange, answered)),
        }
    }

    fn outgoing(&self, request: Request<Incoming>, target: &PathAndQuery, reserved: &Arc<ReservedHeaders>) -> Outgoing {
        let (mut parts, incoming) = request.into_parts();
        match &self.forward.host {
            Some(host) => {
                parts.headers.insert(HOST, host.clone());
            }
            // HTTP/1.0 knows requests without; HTTP/1.1, which goes on from here, does not.
            None if !parts.headers.contains_key(HOST) => {
                parts.headers.insert(HOST, self.servers.host());
            }
            None => {}
        }
        if self.websocket {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        let (body, upload) = self.body(incoming, &mut parts.headers, reserved);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = target::forwarded(target, self.route, self.forward).into();
        *request.headers_mut() = parts.headers;
        Outgoing { request: Some(request), upload }
    }

    fn body(
        &self,
        incoming: Incoming,
        headers: &mut HeaderMap,
        reserved: &Arc<ReservedHeaders>,
    ) -> (RequestBody, Option<Arc<Upload>>) {
        if incoming.is_end_stream() {
            return (RequestBody::Empty, None);
        }
        // hyper's client would send a GET of unknown length without its body.
        if incoming.size_hint().exact().is_none() {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let upload = Arc::new(Upload::new(clock::monotonic()));
        let (limit, stall) = (self.route.max_body_bytes, self.route.request_body_timeout);
        let body = RequestBody::streamed(incoming, Arc::clone(&upload), limit, stall, Arc::clone(reserved));
        (body, Some(upload))
    }

    /// The upstream's answer, its body still to come.
    fn stream(&self, exchange: &mut Exchange<'_>, answered: Answered) -> Response<AnswerBody> {
        let (mut parts, incoming) = answered.response.into_parts();
        let patience = match is_event_stream(&parts.headers) {
            true => self.route.stream_idle_timeout,
            false => self.forward.response_body_timeout,
        };
        self.finish_head(&mut parts.headers);
        // The version of the upstream's connection is not that of the client's.
        parts.version = Version::HTTP_11;
        let mut record = exchange.record.take().expect("the record is there until the answer is");
        record.answering(parts.status);
        if record.upload.as_ref().is_some_and(|upload| upload.end().is_none()) {
            // An answer before the end of the upload: what is left of that is no next request.
            exchange.client.leave_unread();
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut body = StreamedAnswer {
            incoming,
            connection: Some(answered.connection),
            worker: Arc::clone(exchange.worker),
            client: Arc::clone(exchange.client),
            record: Some(record),
            patience,
        };
        if body.incoming.is_end_stream() {
            body.end();
        }
        Response::from_parts(parts, AnswerBody::Streamed(body))
    }

    /// The upstream agreed to a WebSocket: the connection becomes a tunnel once this head is written.
    async fn switch(
        &self,
        exchange: &mut Exchange<'_>,
        mut response: Response<Incoming>,
    ) -> Result<Response<AnswerBody>, Failure> {
        if !self.websocket || !headers::is_websocket(response.headers()) {
            return Err(Failure::UpstreamProtocol("101 to a request that asked for nothing of the kind"));
        }
        let upgraded = hyper::upgrade::on(&mut response).await;
        let upgraded = upgraded.map_err(|_| Failure::UpstreamProtocol("the connection ended with its 101"))?;
        let (mut parts, _) = response.into_parts();
        self.finish_head(&mut parts.headers);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let mut record = exchange.record.take().expect("the record is there until the answer is");
        record.answering(StatusCode::SWITCHING_PROTOCOLS);
        exchange.client.open_tunnel(Tunnel::new(upgraded, record, self.route.stream_idle_timeout));
        Ok(Response::from_parts(parts, AnswerBody::Empty))
    }

    fn finish_head(&self, headers: &mut HeaderMap) {
        headers::strip_response(headers);
        headers::apply(&self.route.response_headers, headers);
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..EVENT_STREAM.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}
