//! What a route does: exactly one of forwarding, redirecting and answering.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};

use super::super::forms::header_value;
use super::super::hosts;
use super::super::problem::Complaint;
use super::super::section::Section;
use super::super::upstreams::Upstream;
use super::redirect::{self, Redirect};
use super::{Timeouts, route_path};

/// Keys that say how a request is forwarded.
const FORWARDING: [&str; 5] = ["upstream_host", "rewrite", "strip_prefix", "forward_credentials", "request_headers"];

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
    /// What the route's path becomes (`strip_prefix` makes it `/`); `None` leaves the path alone. Form as `Route::path`, and as
    /// it stands in a request.
    pub rewrite: Option<String>,
    /// More than zero, like the other.
    pub response_timeout: Duration,
    pub response_body_timeout: Duration,
}

#[derive(Debug)]
pub struct FixedAnswer {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: Bytes,
}

/// An action that could not be read has left a problem; [`nothing`] stands for it.
pub(super) fn read(section: &mut Section<'_>, upstreams: &[Arc<Upstream>], timeouts: &Timeouts) -> Action {
    let host = section.optional_text("upstream_host", upstream_host);
    let rewrite = read_rewrite(section);
    let upstream = section.optional_text("upstream", |name: &str| find(upstreams, name));
    let forward = upstream.map(|upstream| Forward {
        host,
        rewrite,
        response_timeout: timeouts.response.unwrap_or(upstream.response_timeout),
        response_body_timeout: timeouts.response_body.unwrap_or(upstream.body_timeout),
        upstream,
    });
    let redirect = section.optional_table("redirect", redirect::read);
    let respond = section.optional_table("respond", read_respond);
    refuse_none_or_several(section);
    let action = forward.map(Action::Forward).or(redirect.map(Action::Redirect)).or(respond.map(Action::Respond));
    action.unwrap_or_else(nothing)
}

fn refuse_none_or_several(section: &Section<'_>) {
    let actions = ["upstream", "redirect", "respond"].into_iter().filter(|key| section.has(key)).collect::<Vec<_>>();
    match actions[..] {
        [] => section.complain_here(Complaint::new("does nothing").hint("add one of `upstream`, `redirect` and `respond`")),
        [only] if only != "upstream" => {
            for key in FORWARDING.into_iter().filter(|key| section.has(key)) {
                section.complain(key, Complaint::new(format!("has no effect beside `{only}`: nothing is forwarded")));
            }
        }
        [_] => {}
        [first, second, ..] => section.complain(second, Complaint::new(format!("cannot stand beside `{first}`"))),
    }
}

fn find(upstreams: &[Arc<Upstream>], name: &str) -> Result<Arc<Upstream>, Complaint> {
    let names = || upstreams.iter().map(|upstream| upstream.name.as_str()).filter(|name| !name.is_empty()).collect::<Vec<_>>();
    let found = upstreams.iter().find(|upstream| upstream.name == name);
    found.cloned().ok_or_else(|| Complaint::unknown("upstream", name, &names()))
}

fn read_rewrite(section: &mut Section<'_>) -> Option<String> {
    let rewrite = section.optional_text("rewrite", sendable_path);
    let strip_prefix = section.flag("strip_prefix", false);
    if strip_prefix && section.has("rewrite") {
        section.complain("strip_prefix", Complaint::new("is the same as rewrite = \"/\"").hint("leave one of the two out"));
    }
    if strip_prefix { Some("/".to_owned()) } else { rewrite }
}

fn sendable_path(text: &str) -> Result<String, Complaint> {
    let path = route_path(text)?;
    match path.is_ascii() && PathAndQuery::try_from(path.as_str()).is_ok() {
        true => Ok(path),
        false => {
            Err(Complaint::new(format!("`{text}` cannot be sent as it is")).hint("use letters, digits, `-`, `_`, `.` and `~`"))
        }
    }
}

fn upstream_host(text: &str) -> Result<HeaderValue, Complaint> {
    let (host, port) = hosts::split_port(text);
    let fits = hosts::is_name(host) || hosts::bracketed(host).is_some();
    match fits && port.is_none_or(|port| hosts::port(port).is_some()) {
        true => header_value(text),
        false => {
            Err(Complaint::new(format!("`{text}` is no host")).hint("write it like app.example.com or app.example.com:8000"))
        }
    }
}

fn read_respond(section: &mut Section<'_>) -> FixedAnswer {
    let status = section.integer("status", 200, 200..=599);
    let body = section.text("body", "", |body: &str| Ok(Bytes::copy_from_slice(body.as_bytes())));
    if [204, 205, 304].contains(&status) && !body.is_empty() {
        section.complain("body", Complaint::new(format!("cannot be sent with status {status}")));
    }
    FixedAnswer {
        status: status_code(status),
        content_type: section.text("content_type", "text/plain; charset=utf-8", header_value),
        body,
    }
}

pub(super) fn status_code(status: usize) -> StatusCode {
    let status = u16::try_from(status).expect("at most 599");
    StatusCode::from_u16(status).expect("three digits")
}

fn nothing() -> Action {
    let content_type = HeaderValue::from_static("text/plain");
    Action::Respond(FixedAnswer { status: StatusCode::INTERNAL_SERVER_ERROR, content_type, body: Bytes::new() })
}
