//! `[[routes]]`: which requests go where, and under which rules.

mod action;
mod cors;
mod header_rules;
mod matching;
mod redirect;

use std::sync::Arc;
use std::time::Duration;

pub use action::{Action, FixedAnswer, Forward};
pub use cors::{Cors, Origins};
pub use header_rules::HeaderRules;
pub use matching::{HostPattern, Scheme};
pub use redirect::Redirect;

pub(super) use matching::route_path;

use super::forms::{duration, one_of, positive_duration, size_limit};
use super::identity_headers::IdentityHeaders;
use super::keys::{Accept, read_accept};
use super::limits::{Pace, read_pace};
use super::problem::Complaint;
use super::section::Section;
use super::server::{Server, header_size};
use super::upstreams::Upstream;

/// `[[routes]]`
#[derive(Debug)]
pub struct Route {
    /// What metrics and logs call it, different for each route: host and path as `example.com/app`, a host left out for any;
    /// with a scheme `https://example.com/app` or `https://*/app`.
    pub label: String,
    pub host: HostPattern,
    /// Starts with `/`; no trailing `/` but in `/` itself.
    pub path: String,
    pub scheme: Option<Scheme>,
    pub auth: Auth,
    /// All of them are needed. Empty where no key is asked for.
    pub scopes: Vec<String>,
    pub accept: Accept,
    pub forward_credentials: bool,
    pub action: Action,
    pub request_headers: HeaderRules,
    pub response_headers: HeaderRules,
    pub cors: Option<Cors>,
    /// Instead of [`Limits::pace`](super::Limits::pace), and counted apart from it.
    pub limit: Option<Pace>,
    /// At most [`Server::max_header_bytes`].
    pub max_header_bytes: usize,
    /// `None`: no limit.
    pub max_body_bytes: Option<u64>,
    /// The longest pause within a request body. Zero: no such deadline.
    pub request_body_timeout: Duration,
    /// As [`Server::stream_idle_timeout`].
    pub stream_idle_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    Required,
    Optional,
    None,
}

impl Route {
    /// The sources that a key is looked for in; none where no key is asked for.
    pub fn reads_keys_from(&self) -> Accept {
        if self.auth == Auth::None { Accept::NOTHING } else { self.accept }
    }
}

/// What a route leans on.
pub(super) struct Surroundings<'a> {
    pub server: &'a Server,
    pub accept: Accept,
    pub identity_headers: &'a IdentityHeaders,
    pub upstreams: &'a [Arc<Upstream>],
}

pub(super) fn read(section: &mut Section<'_>, around: &Surroundings<'_>) -> Route {
    let host = section.text("host", "", matching::host_pattern);
    let path = section.required_text("path", route_path).unwrap_or_default();
    let scheme = section.optional_text("scheme", one_of(&[("http", Scheme::Http), ("https", Scheme::Https)]));
    let timeouts = section.table("timeouts", |timeouts| read_timeouts(timeouts, around.server));
    let action = action::read(section, around.upstreams, &timeouts);
    let auth = read_auth(section, &action);
    Route {
        label: matching::label(&host, &path, scheme),
        host,
        path,
        scheme,
        auth,
        scopes: read_scopes(section, auth),
        accept: read_accept(section).unwrap_or(around.accept),
        forward_credentials: section.flag("forward_credentials", false),
        action,
        request_headers: section.table("request_headers", |rules| header_rules::read(rules, Some(around.identity_headers))),
        response_headers: section.table("response_headers", |rules| header_rules::read(rules, None)),
        cors: section.optional_table("cors", cors::read),
        limit: section.optional_table("limit", read_pace),
        max_header_bytes: read_max_header_bytes(section, around.server),
        max_body_bytes: section.optional_text("max_body_bytes", size_limit).unwrap_or(around.server.max_body_bytes),
        request_body_timeout: timeouts.request_body,
        stream_idle_timeout: timeouts.stream_idle,
    }
}

/// Never more than the server's: what is beyond that is refused before its route is known.
fn read_max_header_bytes(section: &mut Section<'_>, server: &Server) -> usize {
    let own = section.optional_text("max_header_bytes", header_size).unwrap_or(server.max_header_bytes);
    if own > server.max_header_bytes && section.reading.is_right("server.max_header_bytes") {
        let complaint = Complaint::new("is more than server.max_header_bytes, beyond which no head is read");
        section.complain("max_header_bytes", complaint.hint("raise that one too"));
    }
    own
}

/// `timeouts` of a route, over those of the server and of its upstream.
struct Timeouts {
    request_body: Duration,
    stream_idle: Duration,
    response: Option<Duration>,
    response_body: Option<Duration>,
}

fn read_timeouts(section: &mut Section<'_>, server: &Server) -> Timeouts {
    Timeouts {
        request_body: section.optional_text("request_body", duration).unwrap_or(server.body_timeout),
        stream_idle: section.optional_text("stream_idle", duration).unwrap_or(server.stream_idle_timeout),
        response: section.optional_text("response", positive_duration),
        response_body: section.optional_text("response_body", positive_duration),
    }
}

/// A redirect tells nothing but where to go: it asks for no key unless told to.
fn read_auth(section: &mut Section<'_>, action: &Action) -> Auth {
    let default = if matches!(action, Action::Redirect(_)) { "none" } else { "required" };
    section.text("auth", default, one_of(&[("required", Auth::Required), ("optional", Auth::Optional), ("none", Auth::None)]))
}

fn read_scopes(section: &mut Section<'_>, auth: Auth) -> Vec<String> {
    let scopes = section.list("scopes", &[], scope);
    if auth == Auth::None && !scopes.is_empty() {
        let complaint = Complaint::new("cannot be asked for where no key is");
        section.complain("scopes", complaint.hint("write auth = \"required\", or leave the scopes out"));
    }
    scopes
}

/// RFC 6749 3.3: visible ASCII but `"` and `\`.
fn scope(text: &str) -> Result<String, Complaint> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    match fits {
        true => Ok(text.to_owned()),
        false => {
            Err(Complaint::new(format!("`{text}` is no scope")).hint("a scope is visible ASCII without spaces, `\"` and `\\`"))
        }
    }
}
