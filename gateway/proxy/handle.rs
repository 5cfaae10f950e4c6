//! THE REQUEST. What happens to it, in order; each line is a room of its own.
//!
//! What must stay true here: nothing reaches an upstream before every gate has let it pass, and a record is opened before the
//! first gate and closed after the last byte.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, ORIGIN};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;

use super::answer_body::AnswerBody;
use super::client::Client;
use super::failure::Failure;
use super::forward::Passage;
use super::record::Record;
use super::request_id::RequestId;
use super::respond::Limits;
use super::worker::{Live, RouteFacts, Worker};
use super::{cors, fixed, framing, grpc, headers, respond, target};
use crate::auth::known_key::{KnownKey, SharedKey};
use crate::auth::{self, extract};
use crate::client_address::{client_address, is_trusted};
use crate::clock;
use crate::config::{Action, Auth, Route, Scheme};
use crate::limits::Verdict;
use crate::limits::pace::Subject;
use crate::model::address::ClientIp;
use crate::model::quota::Quota;
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::{AuthResult, RouteLabel};
use crate::route::Taken;

/// Answers a request, whatever becomes of it.
pub async fn handle(
    request: Request<Incoming>,
    worker: &Arc<Worker>,
    client: &Arc<Client>,
) -> Result<Response<AnswerBody>, Infallible> {
    let has_body = !request.body().is_end_stream();
    client.begin(has_body);
    // Not a guard: more than a few at once cost more than a count of references.
    let live = worker.live.load_full();
    let request_id = RequestId::of(request.headers());
    let record = Record::open(worker, client, &live, &request, request_id.clone());
    let answered_at = record.arrived.wall;
    let mut exchange = Exchange {
        worker,
        client,
        live: &live,
        record: Some(record),
        is_grpc: grpc::is_grpc(request.headers()),
        route: None,
        admitted: None,
        refused: None,
        origin: None,
        answered_at,
    };

    let mut response = match exchange.answer(request).await {
        Ok(response) => response,
        Err(failure) => exchange.refuse(failure, has_body),
    };

    exchange.finish_headers(response.headers_mut(), &request_id);
    exchange.close_own(&response);
    if let Some(failure) = exchange.refused.filter(|_| exchange.is_grpc) {
        response = grpc::answer(&failure, response.into_parts().0.headers);
    }
    Ok(response)
}

/// One request on its way.
pub(super) struct Exchange<'a> {
    pub worker: &'a Arc<Worker>,
    pub client: &'a Arc<Client>,
    pub live: &'a Live,
    /// Goes with the body of an answer that streams.
    pub record: Option<Box<Record>>,
    pub is_grpc: bool,
    route: Option<&'a Route>,
    /// The key, and what it may still do.
    pub admitted: Option<(SharedKey, Option<Quota>)>,
    /// Why the answer is none of the app's.
    refused: Option<Failure>,
    /// The page that asks, where the route answers those of other sites.
    origin: Option<HeaderValue>,
    /// When the upstream answered; until then, when the request arrived.
    pub answered_at: Timestamp,
}

impl<'a> Exchange<'a> {
    async fn answer(&mut self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Failure> {
        let live = self.live;
        let config = &live.config;
        let peer_is_trusted = is_trusted(self.client.peer.ip(), &config.client_address);

        let host = framing::check_request(&request)?;
        let header_bytes = framing::check_size(&request, &config.server)?;
        let address = client_address(self.client.peer, request.headers(), &config.client_address);
        self.record().client_ip = Some(address.map_or(self.client.peer.ip(), ClientIp::get));
        if config.server.health_path.as_deref() == Some(request.uri().path()) {
            return Ok(Response::new(AnswerBody::own(Bytes::from_static(b"ok\n"))));
        }

        let scheme = target::scheme(request.headers(), peer_is_trusted, &config.client_address, self.client.scheme);
        let (route, facts) = self.take_route(request.uri(), host, scheme)?;
        self.origin = route.cors.as_ref().and_then(|_| request.headers().get(ORIGIN)).cloned();
        if header_bytes > route.max_header_bytes {
            return Err(Failure::HeaderTooLarge);
        }
        if let Some(preflight) = route.cors.as_ref().and_then(|rules| cors::preflight(request.method(), request.headers(), rules))
        {
            return Ok(preflight);
        }

        let key = self.authenticate(&request, address, route).await?;
        if let Some(key) = &key {
            check_scopes(key, route)?;
        }
        check_body_length(&request, route)?;
        self.keep_pace(key.as_deref(), route, facts)?;
        if let Some(key) = key {
            self.take_permit(key).await?;
        }

        match &route.action {
            Action::Forward(forward) => {
                let servers = facts.servers.as_deref().expect("a route that forwards has servers");
                let websocket = headers::asks_for_websocket(request.headers());
                let has_host = host.is_some();
                let passage = Passage { route, forward, servers, has_host, websocket, address, scheme, peer_is_trusted };
                passage.forward(self, request).await
            }
            Action::Redirect(redirect) => Ok(fixed::redirect(redirect, &request, &target::without_keys(&request, route, config))),
            Action::Respond(answer) => Ok(fixed::answer(answer)),
        }
    }

    /// `host` is the header.
    fn take_route(
        &mut self,
        uri: &Uri,
        host: Option<&HeaderValue>,
        scheme: Scheme,
    ) -> Result<(&'a Route, &'a RouteFacts), Failure> {
        let live = self.live;
        let host = if live.routes.names_hosts() { target::host(uri, host) } else { Cow::Borrowed("") };
        match live.routes.take(&host, target::path(uri).as_bytes(), scheme) {
            Taken::Route(index) => {
                let (route, facts) = (live.routes.get(index), &live.facts[index]);
                self.route = Some(route);
                self.record().route = facts.label;
                Ok((route, facts))
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
    ) -> Result<Option<SharedKey>, Failure> {
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
        let now = self.record().arrived;
        let known = auth::identify(presented, now, &self.worker.lookup).await?;
        self.record().key = Some(known.clone());
        auth::judge(known.validity().standing(now.wall), known.allowed_ips(), address)?;
        Ok(Some(known))
    }

    /// How fast requests of the key, or of the address where there is none, may come, and how many at once.
    fn keep_pace(&mut self, key: Option<&KnownKey>, route: &Route, facts: &RouteFacts) -> Result<(), Failure> {
        let (scope, pace) = match &route.limit {
            Some(own) => (facts.label, own),
            None => (RouteLabel::NONE, &self.live.config.limits.pace),
        };
        if pace.is_unlimited() {
            return Ok(());
        }
        let (worker, peer, record) = (self.worker, self.client.peer.ip(), self.record());
        let of_address = || Subject::address(record.client_ip.unwrap_or(peer));
        let subject = key.map_or_else(of_address, |key| Subject::Key(key.key_id().clone()));
        // Not when it arrived: those that waited for their key together come in any order, and one from before the first would miss
        // the last of the burst.
        record.slot = worker.paces.enter(scope, subject, pace, clock::monotonic())?;
        Ok(())
    }

    /// One of the key's requests of this hour; from here on the request is usage.
    async fn take_permit(&mut self, key: SharedKey) -> Result<(), Failure> {
        let mut quota = None;
        if let Some(hourly) = key.hourly() {
            let now = self.record().arrived.wall;
            let verdict = match hourly.cell.try_take(hourly.limit, now) {
                Some(verdict) => verdict,
                None => self.worker.limiter.take(&hourly.cell, hourly.limit).await,
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
        record.is_usage = true;
        self.admitted = Some((key, quota));
        Ok(())
    }

    fn refuse(&mut self, failure: Failure, has_body: bool) -> Response<AnswerBody> {
        let record = self.record();
        record.fail(&failure);
        let mut response = respond::to_failure(&failure, &record.request_id);
        if has_body || matches!(failure, Failure::BadRequest(_)) {
            // What the client still sends is not read as its next request.
            self.client.leave_unread();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.refused = Some(failure);
        response
    }

    /// What every answer carries.
    fn finish_headers(&self, answer: &mut HeaderMap, request_id: &RequestId) {
        let quota = self.admitted.as_ref().and_then(|(_, quota)| quota.as_ref());
        let limits = quota.map(|quota| Limits { quota, now: self.answered_at });
        respond::add_own(answer, request_id, limits);
        if let Some(rules) = self.route.and_then(|route| route.cors.as_ref()) {
            cors::add(answer, self.origin.as_ref(), rules);
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
            record.complete(clock::monotonic());
        }
    }

    pub fn record(&mut self) -> &mut Record {
        self.record.as_mut().expect("the record is there until the answer is")
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
    match key.has_scopes(&route.scopes) {
        true => Ok(()),
        false => Err(Failure::InsufficientScope(route.scopes.join(" "))),
    }
}
