//! What would become of a request, step by step, without sending it and without spending anything.
//!
//! What must stay true here: each verdict comes from the function that decides live requests, in their order
//! ([`proxy::handle`](crate::proxy::handle)). What depends on the moment alone is said, not judged: how many requests are under
//! way, whether the upstream answers.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::HOST;
use http::{Request, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::{self, Refusal};
use crate::client_address::{client_address, is_trusted};
use crate::config::{Action, Auth, Config, Route, Scheme};
use crate::limits::{Authority, AuthorityError};
use crate::model::address::{ClientIp, PeerAddr};
use crate::model::ids::KeyId;
use crate::model::key_record::{KeyRecord, Standing};
use crate::model::quota::{HourWindow, Quota};
use crate::model::timestamp::Timestamp;
use crate::proxy::failure::Failure;
use crate::proxy::{cors, framing, respond, target};
use crate::route::{RouteTable, Taken};
use crate::store::Store;

/// The request that is asked about.
#[derive(Debug)]
pub struct Asked {
    request: Request<()>,
    /// Who would be connected.
    peer: PeerAddr,
    scheme: Scheme,
}

/// The key it would present, by its current secret.
#[derive(Debug)]
pub enum AskedKey {
    Nothing,
    /// One that the store does not have.
    Unknown,
    Known {
        record: Box<KeyRecord>,
        /// Requests of this hour.
        used: u64,
    },
}

/// A request in plain words.
#[derive(Debug)]
pub struct Described<'a> {
    pub method: &'a str,
    /// As in a request line: a path with its query, or a whole URI.
    pub target: &'a str,
    pub host: &'a str,
    pub headers: Vec<(&'a str, &'a str)>,
    /// Who would be connected: the client, or the proxy before the gateway.
    pub ip: IpAddr,
    pub https: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    pub steps: Vec<Step>,
    /// What happens in the end.
    pub outcome: String,
    /// Of the gateway's own answer; `None` where the request passes.
    pub status: Option<u16>,
    pub code: Option<Cow<'static, str>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    pub step: Cow<'static, str>,
    pub passed: bool,
    pub says: String,
}

impl AskedKey {
    pub async fn find(key_id: Option<&KeyId>, store: &Store, authority: &Authority) -> Result<Self, AuthorityError> {
        let Some(key_id) = key_id else { return Ok(Self::Nothing) };
        let Some(record) = store.get_key(key_id).await? else { return Ok(Self::Unknown) };
        let (_, used) = authority.hour_usage(key_id).await?;
        Ok(Self::Known { record: Box::new(record), used })
    }
}

impl Asked {
    /// # Errors
    /// What of it no client could send.
    pub fn new(described: &Described<'_>) -> Result<Self, String> {
        let mut request = Request::builder().method(described.method).uri(described.target).header(HOST, described.host);
        for (name, value) in &described.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).map_err(|error| format!("no client could send this request: {error}"))?;
        let scheme = if described.https { Scheme::Https } else { Scheme::Http };
        Ok(Self { request, peer: PeerAddr::new(SocketAddr::new(described.ip, 0)), scheme })
    }

    pub fn explain(&self, key: &AskedKey, config: &Config, now: Timestamp) -> Explanation {
        let mut steps = Steps(Vec::new());
        let (outcome, failure) = match self.walk(key, config, now, &mut steps) {
            Ok(outcome) => (outcome, None),
            Err(failure) => (respond::words(&failure).1.to_owned(), Some(failure)),
        };
        let status = failure.as_ref().map(|failure| respond::words(failure).0.as_u16());
        Explanation { steps: steps.0, outcome, status, code: failure.map(|failure| failure.code().into()) }
    }

    fn walk(&self, key: &AskedKey, config: &Config, now: Timestamp, steps: &mut Steps) -> Result<String, Failure> {
        let (request, headers, rules) = (&self.request, self.request.headers(), &config.client_address);
        let readable = framing::check_request(request).map(|_| "it can be read in one way".to_owned());
        steps.gate("framing", readable)?;
        let size = framing::check_size(request, &config.server);
        steps.gate("size", size.clone().map(|bytes| format!("{bytes} bytes of headers")))?;
        let client = client_address(self.peer, headers, rules);
        steps.pass("address", self.address(client, config));
        if config.server.health_path.as_deref() == Some(request.uri().path()) {
            return Ok("the gateway answers that it is alive".to_owned());
        }
        let scheme = target::scheme(headers, is_trusted(self.peer.ip(), rules), rules, self.scheme);
        let route = steps.route(route(request.uri(), request.headers().get(HOST), scheme, config))?;
        if size.is_ok_and(|bytes| bytes > route.max_header_bytes) {
            return Err(Failure::HeaderTooLarge);
        }
        if route.cors.as_ref().and_then(|rules| cors::preflight(request.method(), headers, rules)).is_some() {
            return Ok("the gateway answers the CORS preflight".to_owned());
        }
        key_steps(key, client, route, now, steps)?;
        Ok(ending(route))
    }

    fn address(&self, client: Option<ClientIp>, config: &Config) -> String {
        let header = &config.client_address.header;
        match (client, is_trusted(self.peer.ip(), &config.client_address)) {
            (Some(client), false) => format!("{client}: it is connected, and no trusted proxy"),
            (Some(client), true) => format!("{client}: as {header} of trusted proxies says"),
            (None, _) => format!("nobody: an entry of {header} cannot be read"),
        }
    }
}

fn route<'c>(uri: &Uri, host: Option<&http::HeaderValue>, scheme: Scheme, config: &'c Config) -> Result<&'c Route, Failure> {
    match RouteTable::new(&config.routes).take(&target::host(uri, host), target::path(uri).as_bytes(), scheme) {
        Taken::Route(index) => Ok(&config.routes[index]),
        Taken::NoRoute => Err(Failure::NoRoute),
        Taken::Ambiguous => Err(Failure::BadRequest("the path can be read in more than one way")),
    }
}

/// Everything that the key decides.
fn key_steps(key: &AskedKey, client: Option<ClientIp>, route: &Route, now: Timestamp, steps: &mut Steps) -> Result<(), Failure> {
    let (record, used) = match (route.auth, key) {
        (Auth::None, _) => return steps.gate("key", Ok("the route asks for none".to_owned())),
        (Auth::Optional, AskedKey::Nothing) => {
            return steps.gate("key", Ok("none, and the route passes that without identity".to_owned()));
        }
        (Auth::Required, AskedKey::Nothing) => return steps.gate("key", Err(Failure::MissingKey)),
        (_, AskedKey::Unknown) => return steps.gate("key", Err(Refusal::Unknown.into())),
        (_, AskedKey::Known { record, used }) => (record, *used),
    };
    let standing = record.standing(now);
    let allowed = auth::judge(standing, Some(&record.allowed_ips), client);
    match &allowed {
        Err(refusal @ (Refusal::Inactive | Refusal::Expired)) => steps.refuse("key", refusal.to_string()),
        _ => steps.pass("key", format!("{} of {} is active", record.key_id, record.user_id)),
    }
    if standing == Standing::Good {
        let list = record.allowed_ips.to_strings().join(", ");
        match &allowed {
            Ok(()) if list.is_empty() => steps.pass("allowed address", "the key may be used from anywhere".to_owned()),
            Ok(()) => steps.pass("allowed address", format!("it is in {list}")),
            Err(_) => steps.refuse("allowed address", format!("it is not in {list}")),
        }
    }
    allowed?;
    scopes(record, route, steps)?;
    limit(record, used, now, steps)
}

fn scopes(record: &KeyRecord, route: &Route, steps: &mut Steps) -> Result<(), Failure> {
    let needed = route.scopes.join(" ");
    match record.has_scopes(&route.scopes) {
        true if needed.is_empty() => steps.pass("scopes", "the route needs none".to_owned()),
        true => steps.pass("scopes", format!("it has {needed}")),
        false => {
            steps.refuse("scopes", format!("the route needs {needed}; the key has: {}", record.scopes.join(" ")));
            return Err(Failure::InsufficientScope(needed));
        }
    }
    Ok(())
}

/// As far as gateways have told by now.
fn limit(record: &KeyRecord, used: u64, now: Timestamp, steps: &mut Steps) -> Result<(), Failure> {
    let Some(limit) = record.rate_limit_per_hour else {
        return steps.gate("hourly limit", Ok("the key has none".to_owned()));
    };
    let says = format!("{used} of {limit} are used");
    if used < limit {
        return steps.gate("hourly limit", Ok(says));
    }
    steps.refuse("hourly limit", says);
    let reset = HourWindow::containing(now).end();
    let retry_after = reset.since(now).as_secs().max(1);
    Err(Failure::RateLimited { quota: Quota { limit, remaining: 0, reset }, retry_after })
}

fn ending(route: &Route) -> String {
    match &route.action {
        Action::Forward(forward) => format!("forwarded to the upstream `{}`", forward.upstream.name),
        Action::Redirect(redirect) => format!("redirected with {}", redirect.status.as_u16()),
        Action::Respond(answer) => format!("answered by the gateway with {}", answer.status.as_u16()),
    }
}

struct Steps(Vec<Step>);

impl Steps {
    fn pass(&mut self, step: &'static str, says: String) {
        self.0.push(Step { step: step.into(), passed: true, says });
    }

    fn refuse(&mut self, step: &'static str, says: String) {
        self.0.push(Step { step: step.into(), passed: false, says });
    }

    /// A step that says for itself what was wrong.
    fn gate(&mut self, step: &'static str, verdict: Result<String, Failure>) -> Result<(), Failure> {
        match verdict {
            Ok(says) => self.pass(step, says),
            Err(failure) => {
                self.refuse(step, respond::words(&failure).1.to_owned());
                return Err(failure);
            }
        }
        Ok(())
    }

    fn route<'c>(&mut self, taken: Result<&'c Route, Failure>) -> Result<&'c Route, Failure> {
        self.gate("route", taken.clone().map(|route| route.label.clone()))?;
        taken
    }
}
