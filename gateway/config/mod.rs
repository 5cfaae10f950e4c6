//! The configuration as the gateway uses it: parsed, checked, with every default filled in. Nothing here can be wrong.
//!
//! A file becomes a [`Config`] in [`load`]: read as TOML, each key checked where its neighbours are checked, all problems
//! told at once. Nothing outside this folder sees the TOML.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::model::address::IpNetSet;

#[derive(Debug)]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    pub store: Store,
    pub keys: Keys,
    pub client_address: ClientAddress,
    pub limits: Limits,
    pub usage: Usage,
    pub log: Log,
    pub identity_headers: IdentityHeaders,
    pub upstreams: Vec<Arc<Upstream>>,
    /// In the order of the file.
    pub routes: Vec<Arc<Route>>,
}

/// `[server]`. A duration of zero means: no such deadline.
#[derive(Debug, Clone)]
pub struct Server {
    pub listen: Vec<SocketAddr>,
    /// Threads that serve requests.
    pub workers: NonZeroUsize,
    pub drain_timeout: Duration,
    /// How long to keep accepting after readiness went off.
    pub drain_delay: Duration,
    /// Path answered 200 on the traffic listeners; `None`: none.
    pub health_path: Option<String>,
    /// From the connection's acceptance to its first byte of HTTP.
    pub handshake_timeout: Duration,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// The longest pause within a request body.
    pub body_timeout: Duration,
    /// The longest silence of an upgraded connection, gRPC or an event stream, over both directions together.
    pub stream_idle_timeout: Duration,
    /// The longest time a client may refuse to take what is written to it.
    pub write_timeout: Duration,
    /// How long a kept-alive connection may wait for its next request.
    pub idle_timeout: Duration,
    pub max_header_bytes: usize,
    /// `None`: no limit.
    pub max_body_bytes: Option<u64>,
    pub max_headers: usize,
    pub max_uri_bytes: usize,
    pub max_connections: usize,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct Admin {
    pub listen: SocketAddr,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    pub url: StoreUrl,
    /// Questions that can be under way at once.
    pub pool_size: NonZeroUsize,
    /// For one question.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
}

/// `[keys]`
#[derive(Debug, Clone)]
pub struct Keys {
    pub prefix: String,
    /// After this a cached key is asked for again, in the background.
    pub cache_ttl: Duration,
    pub cache_capacity: NonZeroUsize,
    /// How long a known key keeps working while the store cannot be asked.
    pub stale_if_error: Duration,
    /// Per hour, for new keys.
    pub default_rate_limit: u64,
    pub accept: Accept,
}

/// Where a key is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accept {
    /// `Authorization: Bearer …`
    pub bearer: bool,
    /// `Authorization: ApiKey …`
    pub apikey: bool,
    /// `X-API-Key: …`
    pub x_api_key: bool,
    /// `?api_key=…`
    pub query: bool,
}

/// `[client_ip]`
#[derive(Debug, Clone)]
pub struct ClientAddress {
    /// Peers whose header counts.
    pub trusted_proxies: IpNetSet,
    pub header: HeaderName,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    pub on_authority_failure: OnAuthorityFailure,
}

/// What a known key gets while nobody can be asked for its hour's count (`limits.on_redis_failure`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnAuthorityFailure {
    /// Count on locally, from what was known.
    Local,
    /// 503.
    Reject,
    /// Admit.
    Allow,
}

/// `[usage]`
#[derive(Debug, Clone)]
pub struct Usage {
    pub enabled: bool,
    /// How long rows are kept.
    pub retention: Duration,
    /// The folder of the journal and of the leases' spent parts.
    pub spool: PathBuf,
    pub spool_max: u64,
    pub flush_interval: Duration,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `info,hokusai_gateway::store=debug`.
    pub level: String,
    /// Whether each request is written as a line.
    pub access: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// `[identity_headers]`: names sent upstream; `None` leaves one out.
#[derive(Debug, Clone)]
pub struct IdentityHeaders {
    pub user_id: Option<HeaderName>,
    pub key_id: Option<HeaderName>,
    pub key_name: Option<HeaderName>,
    pub environment: Option<HeaderName>,
    pub scopes: Option<HeaderName>,
}

/// `[[upstreams]]`
#[derive(Debug)]
pub struct Upstream {
    pub name: String,
    /// At least one.
    pub servers: Vec<ServerAddress>,
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response.
    pub response_timeout: Duration,
    /// The longest pause within a response body.
    pub body_timeout: Duration,
}

/// Where one server of an upstream listens: `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

/// `[[routes]]`
#[derive(Debug)]
pub struct Route {
    /// What metrics and logs call it: host and path as written, `*` for any host left out.
    pub label: String,
    pub host: HostPattern,
    /// Starts with `/`; no trailing `/` but in `/` itself.
    pub path: String,
    pub scheme: Option<Scheme>,
    pub auth: Auth,
    /// All of them are needed.
    pub scopes: Vec<String>,
    pub accept: Accept,
    pub forward_credentials: bool,
    pub action: Action,
    pub request_headers: HeaderRules,
    pub response_headers: HeaderRules,
    pub cors: Option<Cors>,
    /// `None`: no limit.
    pub max_body_bytes: Option<u64>,
    /// The longest pause within a request body.
    pub request_body_timeout: Duration,
    pub stream_idle_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Any,
    /// Lower case, without port.
    Exact(String),
    /// `*.example.com`, held as `.example.com`: one or more labels before it.
    Suffix(String),
}

/// How the client spoke to the gateway, or to the trusted proxy before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    Required,
    Optional,
    None,
}

/// What becomes of a request once it is let in.
#[derive(Debug)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Respond(FixedAnswer),
}

#[derive(Debug)]
pub struct Forward {
    pub upstream: Arc<Upstream>,
    /// The `Host` sent; `None` keeps the client's.
    pub host: Option<HeaderValue>,
    /// What the route's path becomes (`strip_prefix` makes it `/`); `None` leaves the path alone. Form as [`Route::path`].
    pub rewrite: Option<String>,
    pub response_timeout: Duration,
    pub response_body_timeout: Duration,
}

#[derive(Debug)]
pub struct Redirect {
    pub status: StatusCode,
    /// May hold `{host}`, `{path}` and `{query}` (with its `?`, or nothing).
    pub to: String,
}

#[derive(Debug)]
pub struct FixedAnswer {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: bytes::Bytes,
}

/// Removed first, then set.
#[derive(Debug, Default)]
pub struct HeaderRules {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, HeaderValue)>,
}

/// Cross-origin rules, answered by the gateway (Fetch standard, "CORS protocol").
#[derive(Debug)]
pub struct Cors {
    pub origins: Origins,
    pub methods: HeaderValue,
    /// `None`: whatever the browser asks for.
    pub headers: Option<HeaderValue>,
    pub expose: Option<HeaderValue>,
    pub credentials: bool,
    pub max_age: HeaderValue,
}

#[derive(Debug)]
pub enum Origins {
    Any,
    /// Compared whole, as browsers send them: `https://app.example.com`.
    These(Vec<String>),
}
