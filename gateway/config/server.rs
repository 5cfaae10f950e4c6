//! `[server]` and `[admin]`: the doors.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::forms::{address, duration, size, size_limit};
use super::problem::Complaint;
use super::routes::route_path;
use super::section::Section;
use super::tls::{self, Tls};
use crate::model::ids::UserId;
use crate::model::key_hash::KeyHash;

/// `[server]`. A duration of zero means: no such deadline, except where said.
#[derive(Debug, Clone)]
pub struct Server {
    /// For cleartext. At least one, unless there is TLS.
    pub listen: Vec<SocketAddr>,
    pub tls: Option<Tls>,
    /// Threads that serve requests.
    pub workers: NonZeroUsize,
    /// How long requests under way may go on after the gateway was told to stop. Zero: they are cut at once.
    pub drain_timeout: Duration,
    /// How long to keep accepting after readiness went off. Zero: not at all.
    pub drain_delay: Duration,
    /// Path answered 200 on the traffic listeners; `None`: none.
    pub health_path: Option<String>,
    /// From the connection's acceptance to its first byte of HTTP, PROXY protocol header and TLS handshake being part of it.
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
    /// Of all header names and values together.
    pub max_header_bytes: usize,
    /// `None`: no limit.
    pub max_body_bytes: Option<u64>,
    pub max_headers: usize,
    pub max_uri_bytes: usize,
    pub max_connections: usize,
    /// `None`: no limit. Trusted proxies have none.
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Trusted proxies begin each connection with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct Admin {
    pub listen: SocketAddr,
    /// Of the tokens that open the admin API; none: it is closed.
    pub tokens: Vec<KeyHash>,
    /// Whose a key is that is made there for nobody in particular.
    pub default_user: UserId,
}

pub(super) fn read_server(section: &mut Section<'_>) -> Server {
    Server {
        listen: match section.has("tls") {
            true => section.list("listen", &["127.0.0.1:8080"], address),
            false => section.filled_list("listen", &["127.0.0.1:8080"], address),
        },
        tls: section.optional_table("tls", tls::read),
        workers: NonZeroUsize::new(section.integer("workers", 0, 0..=1024)).unwrap_or_else(cores),
        drain_timeout: section.text("drain_timeout", "30s", duration),
        drain_delay: section.text("drain_delay", "0s", duration),
        health_path: section.text("health_path", "", health_path),
        handshake_timeout: section.text("handshake_timeout", "10s", duration),
        header_timeout: section.text("header_timeout", "10s", duration),
        body_timeout: section.text("body_timeout", "30s", duration),
        stream_idle_timeout: section.text("stream_idle_timeout", "1h", duration),
        write_timeout: section.text("write_timeout", "30s", duration),
        idle_timeout: section.text("idle_timeout", "75s", duration),
        max_header_bytes: section.text("max_header_bytes", "32KiB", header_size),
        max_body_bytes: section.text("max_body_bytes", "0", size_limit),
        max_headers: section.integer("max_headers", 100, 1..=1000),
        // hyper refuses longer ones by itself (`http::uri::MAX_LEN` is 65534).
        max_uri_bytes: section.text("max_uri_bytes", "16KiB", size("1B"..="65534B")),
        max_connections: section.integer("max_connections", 65536, 1..=10_000_000),
        max_connections_per_address: NonZeroUsize::new(section.integer("max_connections_per_address", 0, 0..=10_000_000)),
        proxy_protocol: section.flag("proxy_protocol", false),
    }
}

pub(super) fn read_admin(section: &mut Section<'_>) -> Admin {
    let tokens = section.reading.env("HOKUSAI_ADMIN_TOKEN").unwrap_or_default();
    let tokens = tokens.split(',').map(str::trim).filter(|token| !token.is_empty());
    Admin {
        listen: section.text("listen", "127.0.0.1:8081", address),
        tokens: tokens.map(|token| KeyHash::of(token.as_bytes())).collect(),
        default_user: section.reading.env("HOKUSAI_USER_ID").map_or_else(|| "admin".into(), UserId::from),
    }
}

/// Of all header names and values together, in bytes.
pub(super) fn header_size(text: &str) -> Result<usize, Complaint> {
    size("1KiB"..="16MiB")(text)
}

fn health_path(text: &str) -> Result<Option<String>, Complaint> {
    if text.is_empty() { Ok(None) } else { route_path(text).map(Some) }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
