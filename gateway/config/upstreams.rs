//! `[[upstreams]]`: what stands behind the gateway.

use std::time::Duration;

use http::uri::PathAndQuery;

use super::forms::{one_of, positive_duration};
use super::problem::Complaint;
use super::section::Section;
use super::server_address::{ServerAddress, server_address};
use super::upstream_tls::{self, UpstreamTls};

/// So many fit the note of which were tried.
const MOST_SERVERS: usize = 64;

/// `[[upstreams]]`
#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: String,
    /// 1 to 64.
    pub servers: Vec<ServerAddress>,
    pub balance: Balance,
    pub health_check: Option<HealthCheck>,
    /// There with a server that is `https://`.
    pub tls: Option<UpstreamTls>,
    /// More than zero, like the others.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response.
    pub response_timeout: Duration,
    /// The longest pause within a response body.
    pub body_timeout: Duration,
}

/// What a server is asked, again and again, to find out whether it should get requests.
#[derive(Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Answered with 2xx or 3xx by a server that is well.
    pub path: PathAndQuery,
    /// More than zero, like the other.
    pub interval: Duration,
    /// From the connection to the head of the answer.
    pub timeout: Duration,
    /// So many in a row say so, at least 1.
    pub unhealthy_after: usize,
    pub healthy_after: usize,
}

/// Which of several servers a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The one with the fewest requests under way; of equals, the next in turn.
    LeastConnections,
    /// The next in turn.
    RoundRobin,
}

pub(super) fn read(section: &mut Section<'_>) -> Upstream {
    let name = section.required_text("name", |text: &str| Ok(text.to_owned())).unwrap_or_default();
    if section.has("name") && !is_upstream_name(&name) {
        section.complain("name", Complaint::new(format!("`{name}` must be 1 to 64 letters, digits, `-`, `_` and `.`")));
    }
    let base_dir = section.reading.base_dir;
    let servers = section.filled_list("servers", &[], |text: &str| server_address(text, base_dir));
    if servers.len() > MOST_SERVERS {
        section.complain("servers", Complaint::new(format!("lists {}, at most {MOST_SERVERS} may stand there", servers.len())));
    }
    let balance = one_of(&[("least-connections", Balance::LeastConnections), ("round-robin", Balance::RoundRobin)]);
    Upstream {
        name,
        tls: upstream_tls::read(section, &servers),
        servers,
        balance: section.text("balance", "least-connections", balance),
        health_check: section.optional_table("health_check", health_check),
        connect_timeout: section.text("connect_timeout", "2s", positive_duration),
        response_timeout: section.text("response_timeout", "60s", positive_duration),
        body_timeout: section.text("body_timeout", "60s", positive_duration),
    }
}

fn health_check(section: &mut Section<'_>) -> HealthCheck {
    HealthCheck {
        path: section.required_text("path", check_path).unwrap_or_else(|| PathAndQuery::from_static("/")),
        interval: section.text("interval", "5s", positive_duration),
        timeout: section.text("timeout", "2s", positive_duration),
        unhealthy_after: section.integer("unhealthy_after", 2, 1..=100),
        healthy_after: section.integer("healthy_after", 2, 1..=100),
    }
}

fn check_path(text: &str) -> Result<PathAndQuery, Complaint> {
    let path = Some(text).filter(|text| text.starts_with('/') && !text.contains('#')).and_then(|text| text.parse().ok());
    path.ok_or_else(|| Complaint::new(format!("`{text}` is no path")).hint("write it like /health"))
}

/// It becomes a label of metrics.
fn is_upstream_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
