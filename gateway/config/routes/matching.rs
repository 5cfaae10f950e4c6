//! What a route matches: host, path and scheme.
//!
//! What must stay true here: a pattern is in the one form that requests are brought into before they are compared.

use std::net::Ipv6Addr;

use super::super::hosts;
use super::super::problem::Complaint;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Any,
    /// Lower case, without port; an IPv6 address in brackets and in its shortest form.
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

pub(super) fn label(host: &HostPattern, path: &str, scheme: Option<Scheme>) -> String {
    let start = match scheme {
        None => "",
        Some(Scheme::Http) => "http://",
        Some(Scheme::Https) => "https://",
    };
    match host {
        HostPattern::Any if scheme.is_none() => path.to_owned(),
        HostPattern::Any => format!("{start}*{path}"),
        HostPattern::Exact(host) => format!("{start}{host}{path}"),
        HostPattern::Suffix(suffix) => format!("{start}*{suffix}{path}"),
    }
}

pub(super) fn host_pattern(text: &str) -> Result<HostPattern, Complaint> {
    let no_host = || Complaint::new(format!("`{text}` is no host"));
    if let Some(address) = hosts::bracketed(text) {
        return Ok(HostPattern::Exact(format!("[{address}]")));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    match text {
        "" => Ok(HostPattern::Any),
        "*" => Err(no_host().hint("leave it empty for any host")),
        _ if !text.is_ascii() => Err(no_host().hint("write the name as it is sent, with xn--")),
        _ if text.contains("://") => Err(no_host().hint("`scheme` is a key of its own")),
        _ if text.parse::<Ipv6Addr>().is_ok() => Err(no_host().hint(format!("write [{text}]"))),
        _ if hosts::split_port(text).1.is_some() => Err(no_host().hint("leave the port out, every port is matched")),
        _ if !hosts::is_name(name) => Err(no_host().hint("write it like api.example.com or *.example.com")),
        _ if name.len() < text.len() => Ok(HostPattern::Suffix(format!(".{}", name.to_ascii_lowercase()))),
        _ => Ok(HostPattern::Exact(text.to_ascii_lowercase())),
    }
}

/// A path as the decoded path of a request is compared with it. A trailing `/` is dropped: whole segments are matched anyway.
pub(in super::super) fn route_path(text: &str) -> Result<String, Complaint> {
    let complaint = |says: &str| Err(Complaint::new(format!("`{}` {says}", text.escape_debug())));
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    if !text.starts_with('/') {
        return complaint("does not start with `/`");
    }
    if text.contains("//") {
        return complaint("has an empty segment");
    }
    if trimmed.split('/').any(|segment| segment == "." || segment == "..") {
        return complaint("has a dot segment");
    }
    if trimmed.contains('%') {
        return Err(Complaint::new(format!("`{text}` is percent-encoded")).hint("write the characters themselves"));
    }
    match trimmed.chars().find(|&c| c.is_control() || matches!(c, '?' | '#' | ';' | '\\')) {
        Some(c) => complaint(&format!("holds `{}`, which no path does", c.escape_debug())),
        None if trimmed.is_empty() => Ok("/".to_owned()),
        None => Ok(trimmed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_held_in_the_form_requests_are_compared_in() {
        assert_eq!(host_pattern("").expect("a host"), HostPattern::Any);
        assert_eq!(host_pattern("API.Example.com").expect("a host"), HostPattern::Exact("api.example.com".into()));
        assert_eq!(host_pattern("*.Example.com").expect("a host"), HostPattern::Suffix(".example.com".into()));
        assert_eq!(host_pattern("[::0:1]").expect("a host"), HostPattern::Exact("[::1]".into()));
        for (text, path) in
            [("/", "/"), ("/api", "/api"), ("/api/", "/api"), ("/a b/é", "/a b/é"), ("/.well-known", "/.well-known")]
        {
            assert_eq!(route_path(text).expect("a path"), path);
        }
    }

    #[test]
    fn what_a_request_could_reach_by_another_spelling_is_no_path() {
        for text in ["", "api", "//", "/a//b", "/a//", "/.", "/a/../b", "/a/..", "/%61", "/a;b", "/a\\b", "/a?b", "/a#b", "/a\nb"]
        {
            assert!(route_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn routes_that_differ_have_labels_that_differ() {
        let hosts = ["", "a.com", "*.a.com"].map(|host| host_pattern(host).expect("a host"));
        let schemes = [None, Some(Scheme::Http), Some(Scheme::Https)];
        let all = hosts.iter().flat_map(|host| schemes.map(|scheme| label(host, "/x", scheme)));
        let labels: std::collections::BTreeSet<String> = all.collect();
        assert_eq!(labels.len(), 9);
        assert!(["/x", "a.com/x", "*.a.com/x", "https://*/x"].iter().all(|label| labels.contains(*label)));
    }
}
