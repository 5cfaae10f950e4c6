//! THE REQUEST. What happens to it, in order; each line is a room of its own.
//!
//! What must stay true here: nothing reaches an upstream before every gate has let it pass, and a record is opened before the
//! first gate and closed after the last byte.

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::Guard;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION, ORIGIN, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body;
use hyper::body::Incoming;

use super::answer_body::{AnswerBody, StreamedAnswer};
use super::attempt::{self, Answered, Outgoing};
use super::client::{Client, Phase};
use super::failure::Failure;
use super::record::Record;
use super::tunnel::Tunnel;
use super::worker::{Live, RouteFacts, Worker};
use super::{cors, framing, headers, identity, respond, target};
use crate::auth::{self, extract, known_key::KnownKey};
use crate::client_address::{client_address, is_trusted};
use crate::clock;
use crate::config::{Accept, Action, Auth, FixedAnswer, Forward, Redirect, Route, Scheme, Server};
use crate::limits::Verdict;
use crate::model::address::ClientIp;
use crate::model::quota::Quota;
use crate::observe::metrics::{AuthResult, UpstreamResult};
use crate::route::Taken;
use crate::upstream::request_body::{RequestBody, Upload};

/// Answers a request, whatever becomes of it.
pub async fn handle(
    request: Request<Incoming>,
    worker: Arc<Worker>,
    client: Arc<Client>,
) -> Result<Response<AnswerBody>, Infallible> {
    client.enter(Phase::Busy);
    let live = worker.live.load();
    let request_id = request_id(request.headers());
    let record = Record::open(&worker, &client, request.method(), request.uri(), request_id.clone());
    let mut exchange = Exchange { worker: &worker, client: &client, live: &live, record: Some(record), route: None, admitted: None };
    let origin = request.headers().get(ORIGIN).cloned();
    let has_body = !request.body().is_end_stream();

    let mut response = match exchange.answer(request).await {
        Ok(response) => response,
        Err(failure) => exchange.refuse(&failure, has_body),
    };

    exchange.finish_headers(response.headers_mut(), origin.as_ref(), request_id);
    exchange.close_own(&response);
    Ok(response)
}

/// One request on its way.
struct Exchange<'a> {
    worker: &'a Arc<Worker>,
    client: &'a Arc<Client>,
    live: &'a Guard<Arc<Live>>,
    /// Goes with the body of an answer that streams.
    record: Option<Record>,
    /// Its place, once taken.
    route: Option<usize>,
    /// The key, and what it may still do.
    admitted: Option<(Arc<KnownKey>, Option<Quota>)>,
}

impl Exchange<'_> {
    async fn answer(&mut self, mut request: Request<Incoming>) -> Result<Response<AnswerBody>, Failure> {
        let config = &self.live.config;
        let peer_is_trusted = is_trusted(self.client.peer.ip(), &config.client_address);

        framing::check_request(&request)?;
        check_size(&request, &config.server)?;
        let address = client_address(self.client.peer, request.headers(), &config.client_address);
        self.record().client_ip = Some(address.map_or(self.client.peer.ip(), ClientIp::get));
        if config.server.health_path.as_deref() == Some(request.uri().path()) {
            return Ok(Response::new(AnswerBody::own(Bytes::from_static(b"ok\n"))));
        }

        let scheme = target::scheme(request.headers(), peer_is_trusted, self.client.scheme);
        let (route, facts) = self.take_route(&request, scheme)?;
        if let Some(preflight) = route.cors.as_ref().and_then(|rules| cors::preflight(request.method(), request.headers(), rules)) {
            return Ok(preflight);
        }

        if let Some(key) = self.authenticate(&request, address, route).await? {
            check_scopes(&key, route)?;
            self.take_permit(key).await?;
        }

        check_body_length(&request, route)?;
        let target = cut_credentials(&mut request, route, &config.keys.prefix);
        let websocket = headers::asks_for_websocket(request.headers());
        headers::strip_request(request.headers_mut(), &self.live.reserved);
        headers::add_forwarding(request.headers_mut(), self.client, address, scheme, peer_is_trusted);
        request.headers_mut().insert(headers::X_REQUEST_ID, self.record().request_id.clone());
        headers::apply(&route.request_headers, request.headers_mut());
        if let Some((key, _)) = &self.admitted {
            identity::attach(request.headers_mut(), key, &config.identity_headers);
        }

        match &route.action {
            Action::Forward(forward) => self.forward(request, &target, route, forward, facts, websocket).await,
            Action::Redirect(redirect) => Ok(redirected(redirect, &request, &target)),
            Action::Respond(fixed) => Ok(answered(fixed)),
        }
    }

    fn take_route<B>(&mut self, request: &Request<B>, scheme: Scheme) -> Result<(&'_ Route, &'_ RouteFacts), Failure> {
        let host = target::host(request.uri(), request.headers());
        match self.live.routes.take(&host, target::path(request.uri()).as_bytes(), scheme) {
            Taken::Route(index) => {
                self.route = Some(index);
                let live = self.live;
                Ok((live.routes.get(index), &live.facts[index]))
            }
            Taken::NoRoute => Err(Failure::NoRoute),
            Taken::Ambiguous => Err(Failure::BadRequest("the path can be read in more than one way")),
        }
    }

    /// The key of the request, where one is asked for or offered.
    async fn authenticate<B>(
        &mut self,
        request: &Request<B>,
        address: Option<ClientIp>,
        route: &Route,
    ) -> Result<Option<Arc<KnownKey>>, Failure> {
        if route.auth == Auth::None {
            self.record().auth = Some(AuthResult::Anonymous);
            return Ok(None);
        }
        let prefix = &self.live.config.keys.prefix;
        let presented = extract::find(request.headers(), request.uri().query(), route.accept, prefix);
        if route.auth == Auth::Optional && presented == extract::Presented::Nothing {
            self.record().auth = Some(AuthResult::Anonymous);
            return Ok(None);
        }
        let now = self.record().arrived();
        Ok(Some(auth::authenticate(presented, address, now, &self.worker.lookup).await?))
    }

    /// One of the key's requests of this hour; from here on the request is usage.
    async fn take_permit(&mut self, key: Arc<KnownKey>) -> Result<(), Failure> {
        let mut quota = None;
        if let Some(hourly) = &key.hourly {
            let now = self.record().arrived();
            let verdict = match hourly.cell.try_take(hourly.limit, now) {
                Some(verdict) => verdict,
                None => self.worker.limiter.take(&hourly.cell, hourly.limit, now).await,
            };
            match verdict {
                Verdict::Admitted(left) => quota = Some(left),
                Verdict::Spent { quota, retry_after_secs } => {
                    self.admitted = Some((key, Some(quota)));
                    return Err(Failure::RateLimited { quota, retry_after: retry_after_secs });
                }
                Verdict::Unavailable => return Err(Failure::StoreUnavailable),
            }
        }
        let record = self.record();
        record.auth = Some(AuthResult::Ok);
        record.key = Some(Arc::clone(&key));
        self.admitted = Some((key, quota));
        Ok(())
    }

    async fn forward(
        &mut self,
        request: Request<Incoming>,
        target: &PathAndQuery,
        route: &Route,
        forward: &Forward,
        facts: &RouteFacts,
        websocket: bool,
    ) -> Result<Response<AnswerBody>, Failure> {
        let servers = facts.servers.as_deref().expect("a route that forwards has servers");
        let outgoing = self.outgoing(request, target, route, forward, websocket);
        let record = self.record();
        record.upload.clone_from(&outgoing.upload);
        record.upstream = Some((servers.label, UpstreamResult::Abandoned));
        let began = clock::monotonic();
        let answered = attempt::forward(self.worker, servers, forward, outgoing).await;
        let record = self.record();
        record.waited = clock::monotonic().duration_since(began);
        let answered = answered.and_then(|answered| framing::check_response(&answered.response).map(|()| answered));
        let result = answered.as_ref().map_or_else(Failure::upstream_result, |_| UpstreamResult::Ok);
        record.upstream = Some((servers.label, result));
        match answered? {
            Answered { response, .. } if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.switch(response, route, websocket).await
            }
            answered => Ok(self.stream(answered, route, forward)),
        }
    }

    fn outgoing(
        &self,
        request: Request<Incoming>,
        target: &PathAndQuery,
        route: &Route,
        forward: &Forward,
        websocket: bool,
    ) -> Outgoing {
        let (mut parts, incoming) = request.into_parts();
        match &forward.host {
            Some(host) => parts.headers.insert(HOST, host.clone()),
            None => None,
        };
        if websocket {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        let (body, upload) = match incoming.is_end_stream() {
            true => (RequestBody::Empty, None),
            false => {
                // hyper's client would send a GET of unknown length without its body.
                if incoming.size_hint().exact().is_none() {
                    parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                let upload = Arc::new(Upload::new(clock::monotonic()));
                let (limit, stall) = (route.max_body_bytes, route.request_body_timeout);
                let reserved = Arc::clone(&self.live.reserved);
                (RequestBody::streamed(incoming, Arc::clone(&upload), limit, stall, reserved), Some(upload))
            }
        };
        let uri = Uri::from(target::forwarded(target, route, forward));
        Outgoing { method: parts.method, uri, headers: parts.headers, body, upload }
    }

    /// The upstream's answer, its body still to come.
    fn stream(&mut self, answered: Answered, route: &Route, forward: &Forward) -> Response<AnswerBody> {
        let (mut parts, incoming) = answered.response.into_parts();
        let is_event_stream = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream")));
        let patience = if is_event_stream { route.stream_idle_timeout } else { forward.response_body_timeout };
        headers::strip_response(&mut parts.headers);
        headers::apply(&route.response_headers, &mut parts.headers);
        let mut record = self.record.take().expect("the record is there until the answer is");
        record.answering(parts.status);
        if record.upload.as_ref().is_some_and(|upload| upload.end().is_none()) {
            // An answer before the end of the upload: what is left of it is no next request.
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut body = StreamedAnswer {
            incoming,
            connection: Some(answered.connection),
            worker: Arc::clone(self.worker),
            client: Arc::clone(self.client),
            record: Some(record),
            patience,
        };
        if body.incoming.is_end_stream() {
            body.end();
        }
        // The upstream's own version is its connection's affair.
        parts.version = http::Version::HTTP_11;
        Response::from_parts(parts, AnswerBody::Streamed(body))
    }

    /// The upstream agreed to a WebSocket: the connection becomes a tunnel once this head is written.
    async fn switch(&mut self, response: Response<Incoming>, route: &Route, websocket: bool) -> Result<Response<AnswerBody>, Failure> {
        if !websocket || !headers::is_websocket(response.headers()) {
            return Err(Failure::UpstreamProtocol("101 to a request that asked for nothing of the kind"));
        }
        let (mut parts, incoming) = response.into_parts();
        headers::strip_response(&mut parts.headers);
        headers::apply(&route.response_headers, &mut parts.headers);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let mut head = Response::from_parts(parts, AnswerBody::Empty);
        let upgraded = hyper::upgrade::on(Response::from_parts(head_of(&head), incoming)).await;
        let upgraded = upgraded.map_err(|_| Failure::UpstreamProtocol("the connection ended with its 101"))?;
        let mut record = self.record.take().expect("the record is there until the answer is");
        record.answering(StatusCode::SWITCHING_PROTOCOLS);
        self.client.open_tunnel(Tunnel::new(upgraded, record, route.stream_idle_timeout));
        head.extensions_mut().clear();
        Ok(head)
    }

    fn refuse(&mut self, failure: &Failure, has_body: bool) -> Response<AnswerBody> {
        let record = self.record();
        record.auth = failure.auth_result().or(record.auth);
        record.code = Some(failure.code());
        let mut response = respond::to_failure(failure, &record.request_id);
        if has_body || matches!(failure, Failure::BadRequest(_)) {
            // What the client still sends is not read as its next request.
            self.client.leave_unread();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// What every answer carries.
    fn finish_headers(&self, answer: &mut HeaderMap, origin: Option<&HeaderValue>, request_id: HeaderValue) {
        answer.insert(headers::X_REQUEST_ID, request_id);
        if let Some((key, Some(quota))) = &self.admitted
            && let Some(hourly) = &key.hourly
        {
            respond::add_limits(answer, &hourly.headers, quota, clock::now());
        }
        if let Some(rules) = self.route.and_then(|index| self.live.routes.get(index).cors.as_ref()) {
            cors::add(answer, origin, rules);
        }
        if self.worker.tasks.is_stopping() {
            answer.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// An answer of our own is as good as handed over.
    fn close_own(&mut self, response: &Response<AnswerBody>) {
        if let Some(mut record) = self.record.take() {
            record.answering(response.status());
            record.response_bytes = response.body().own_length();
            record.complete();
        }
    }

    fn record(&mut self) -> &mut Record {
        self.record.as_mut().expect("the record is there until the answer is")
    }
}

/// The client's own where it is sane, else 128 random bits.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
    };
    match headers.get(headers::X_REQUEST_ID).filter(is_sane) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&format!("{:032x}", fastrand::u128(..))).expect("hex digits are a value"),
    }
}

fn check_size<B>(request: &Request<B>, rules: &Server) -> Result<(), Failure> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > rules.max_uri_bytes {
        return Err(Failure::UriTooLong);
    }
    let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    match fields > rules.max_header_bytes || request.headers().len() > rules.max_headers {
        true => Err(Failure::HeaderTooLarge),
        false => Ok(()),
    }
}

fn check_body_length(request: &Request<Incoming>, route: &Route) -> Result<(), Failure> {
    let told = request.body().size_hint().exact();
    match route.max_body_bytes.is_some_and(|limit| told.is_some_and(|told| told > limit)) {
        true => Err(Failure::BodyTooLarge),
        false => Ok(()),
    }
}

fn check_scopes(key: &KnownKey, route: &Route) -> Result<(), Failure> {
    match route.scopes.iter().all(|needed| key.key.record.scopes.contains(needed)) {
        true => Ok(()),
        false => Err(Failure::InsufficientScope(route.scopes.join(" "))),
    }
}

/// The target to go on with. What the route reads keys from is cut, unless the route says that the app wants it.
fn cut_credentials<B>(request: &mut Request<B>, route: &Route, prefix: &str) -> PathAndQuery {
    let target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if route.forward_credentials {
        return target;
    }
    let accept = if route.auth == Auth::None { Accept::NOTHING } else { route.accept };
    extract::cut_headers(request.headers_mut(), accept, prefix);
    extract::cut_query(&target, accept, prefix).unwrap_or(target)
}

fn redirected<B>(redirect: &Redirect, request: &Request<B>, target: &PathAndQuery) -> Response<AnswerBody> {
    let query = target.query().map_or_else(String::new, |query| format!("?{query}"));
    let to = redirect.to.replace("{host}", &target::host(request.uri(), request.headers()));
    let to = to.replace("{path}", target.path()).replace("{query}", &query);
    let mut response = Response::new(AnswerBody::Empty);
    *response.status_mut() = redirect.status;
    if let Ok(location) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn answered(fixed: &FixedAnswer) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::own(fixed.body.clone()));
    *response.status_mut() = fixed.status;
    response.headers_mut().insert(CONTENT_TYPE, fixed.content_type.clone());
    response
}
