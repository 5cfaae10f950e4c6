//! `[[upstreams]]`: what stands behind the gateway.

use std::fmt;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::forms::{one_of, positive_duration};
use super::hosts;
use super::problem::Complaint;
use super::section::Section;

/// So many fit the note of which were tried.
const MOST_SERVERS: usize = 64;

/// `[[upstreams]]`
#[derive(Debug)]
pub struct Upstream {
    pub name: String,
    /// 1 to 64.
    pub servers: Vec<ServerAddress>,
    pub balance: Balance,
    pub health_check: Option<HealthCheck>,
    /// More than zero, like the others.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response.
    pub response_timeout: Duration,
    /// The longest pause within a response body.
    pub body_timeout: Duration,
}

/// What a server is asked, again and again, to find out whether it should get requests.
#[derive(Debug)]
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

/// Where one server of an upstream listens: `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerAddress {
    /// A name or an address, without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// As it stands in a `Host` header: an IPv6 address in brackets.
impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
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
    let name = section.required_text("name", |text| Ok(text.to_owned())).unwrap_or_default();
    if section.has("name") && !is_upstream_name(&name) {
        section.complain("name", Complaint::new(format!("`{name}` must be 1 to 64 letters, digits, `-`, `_` and `.`")));
    }
    let servers = section.filled_list("servers", &[], server_address);
    if servers.len() > MOST_SERVERS {
        section.complain("servers", Complaint::new(format!("lists {}, at most {MOST_SERVERS} may stand there", servers.len())));
    }
    let balance = one_of(&[("least-connections", Balance::LeastConnections), ("round-robin", Balance::RoundRobin)]);
    Upstream {
        name,
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

/// `http://host`, `http://host:port`, a `/` at the end allowed. A text with a user in it is never repeated.
fn server_address(text: &str) -> Result<ServerAddress, Complaint> {
    let example = "write it like http://127.0.0.1:8000";
    let authority = match text.split_once("://") {
        _ if text.contains('@') => return Err(Complaint::new("holds a user or a password, which are not sent").hint(example)),
        Some(("http", authority)) => authority,
        Some((scheme @ ("https" | "h2c"), _)) => return Err(Complaint::later(&format!("{scheme}:// is")).hint("use http://")),
        _ => return Err(Complaint::new(format!("`{text}` is no URL of a server")).hint(example)),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(Complaint::new(format!("`{text}` has a path")).hint("a server has none; `rewrite` of a route adds one"));
    }
    let (host, port) = hosts::split_port(authority);
    let host =
        hosts::bracketed(host).map(|address| address.to_string()).or_else(|| hosts::is_name(host).then(|| host.to_owned()));
    let port = port.map_or(Some(80), hosts::port);
    match (host, port) {
        (Some(host), Some(port)) => Ok(ServerAddress { host, port }),
        (None, _) => Err(Complaint::new(format!("`{text}` names no host")).hint(example)),
        (_, None) => Err(Complaint::new(format!("`{text}` has no port between 1 and 65535")).hint(example)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_server_is_read() {
        for (text, host, port) in [
            ("http://127.0.0.1:8000", "127.0.0.1", 8000),
            ("http://app.internal", "app.internal", 80),
            ("http://my_app:1/", "my_app", 1),
            ("http://[::1]:8000", "::1", 8000),
            ("http://[2001:DB8::1]", "2001:db8::1", 80),
        ] {
            assert_eq!(server_address(text).expect("a server"), ServerAddress { host: host.into(), port }, "{text}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        for text in ["http://u:hunter2@h", "https://u:hunter2@h", "u:hunter2@h", "http://h/hunter2@"] {
            let complaint = server_address(text).expect_err("not sent");
            assert!(!format!("{complaint:?}").contains("hunter2"), "{text}");
        }
    }
}
