//! What a request is for: the host and path it is routed by, and the target that is sent on.

use std::borrow::Cow;

use http::header::{FORWARDED, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Uri};

use crate::auth::extract;
use crate::client_address::forwarded::{elements, parameter};
use crate::config::{ClientAddress, Config, Forward, Route, Scheme};

/// `X-Forwarded-Proto`: what a trusted proxy says of how the client spoke to it.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The host a request is for, by its target and its Host header: lower case, without port or a final dot, IPv6 in brackets; empty
/// when there is none.
pub fn host<'r>(uri: &'r Uri, header: Option<&'r HeaderValue>) -> Cow<'r, str> {
    let named = uri.authority().map(http::uri::Authority::as_str);
    let given = named.or_else(|| header.and_then(|host| host.to_str().ok())).unwrap_or_default();
    let last = if given.starts_with('[') { b']' } else { b':' };
    let end = given.bytes().position(|byte| byte == last).map_or(given.len(), |at| at + usize::from(last == b']'));
    let name = &given[..end];
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

/// How the client spoke: as the trusted proxy says, else as it spoke to us.
pub fn scheme(headers: &HeaderMap, peer_is_trusted: bool, rules: &ClientAddress, ours: Scheme) -> Scheme {
    if !peer_is_trusted {
        return ours;
    }
    let told = match rules.speaks_forwarded() {
        false => headers.get(X_FORWARDED_PROTO).and_then(|proto| scheme_of(proto.as_bytes())),
        // What the peer itself has appended.
        true => headers.get_all(FORWARDED).iter().next_back().and_then(|line| {
            let last = elements(line.as_bytes()).next()?;
            scheme_of(parameter(last, "proto")?.as_bytes())
        }),
    };
    told.unwrap_or(ours)
}

fn scheme_of(proto: &[u8]) -> Option<Scheme> {
    match proto {
        proto if proto.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
        proto if proto.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
        _ => None,
    }
}

/// The path as it came, `/` where a target has none.
pub fn path(uri: &Uri) -> &str {
    match uri.path() {
        "" => "/",
        path => path,
    }
}

/// The target without the keys that the route reads or the gateway minted, unless the route says that the app wants them.
pub fn without_keys<'r, B>(request: &'r Request<B>, route: &Route, config: &Config) -> Cow<'r, PathAndQuery> {
    let target = request.uri().path_and_query().map_or_else(|| Cow::Owned(PathAndQuery::from_static("/")), Cow::Borrowed);
    match route.forward_credentials {
        true => target,
        false => extract::cut_query(&target, route.reads_keys_from(), &config.keys.prefix).map_or(target, Cow::Owned),
    }
}

/// The target to send on: as it came, but for the route's rewriting.
pub fn forwarded<'r>(target: Cow<'r, PathAndQuery>, route: &Route, forward: &Forward) -> Cow<'r, PathAndQuery> {
    let Some(replacement) = &forward.rewrite else { return target };
    let rewritten = rewritten(target.as_str(), &route.path, replacement);
    Cow::Owned(rewritten.try_into().expect("parts of valid targets make a valid target"))
}

/// A route is only taken by a path that begins with the route's, byte for byte: where another spelling would lead elsewhere,
/// the path was refused.
fn rewritten(target: &str, route: &str, replacement: &str) -> String {
    let rest = target.strip_prefix(route.trim_end_matches('/')).unwrap_or_default();
    let kept = replacement.trim_end_matches('/');
    match kept.is_empty() && !rest.starts_with('/') {
        true => format!("/{rest}"),
        false => format!("{kept}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_lower_case_without_port_and_final_dot() {
        for (host_line, name) in [("A.Example:80", "a.example"), ("a.example.", "a.example"), ("[::1]:80", "[::1]"), ("x", "x")] {
            let header = host_line.parse().expect("a value");
            assert_eq!(host(&Uri::from_static("/"), Some(&header)), name);
        }
    }

    #[test]
    fn a_rewrite_replaces_the_routes_path_and_nothing_else() {
        for (route, rewrite, target, sent) in [
            ("/api", "/", "/api/x?q=1", "/x?q=1"),
            ("/api", "/", "/api", "/"),
            ("/api", "/", "/api?q", "/?q"),
            ("/api", "/v2", "/api/x%2Fy", "/v2/x%2Fy"),
            ("/api", "/v2", "/api?q", "/v2?q"),
            ("/", "/v2", "/x", "/v2/x"),
            ("/", "/v2", "/", "/v2/"),
            ("/", "/", "/x", "/x"),
        ] {
            assert_eq!(rewritten(target, route, rewrite), sent, "{route} to {rewrite}: {target}");
        }
    }
}
