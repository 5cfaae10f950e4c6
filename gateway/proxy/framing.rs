//! What hyper lets through and two servers in a row might frame or route differently.
//!
//! What must stay true here: what passes has one reading of where it ends and one of whom it is for. hyper itself refuses
//! lengths that differ or are no numbers, and cuts a length that stands beside a transfer coding.

use std::net::Ipv6Addr;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use super::failure::Failure;
use crate::config::Server;
use crate::upstream::http1::Coding;

/// Of a request: RFC 9112 3.2 (Host), 6.1 (transfer codings). Returns its Host.
pub fn check_request<B>(request: &Request<B>) -> Result<Option<&HeaderValue>, Failure> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Failure::MethodNotAllowed);
    }
    check_coding(request.headers())?;
    check_form(request)?;
    check_host(request)
}

/// Returns the bytes of all header names and values together.
pub fn check_size<B>(request: &Request<B>, rules: &Server) -> Result<usize, Failure> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > rules.max_uri_bytes {
        return Err(Failure::UriTooLong);
    }
    let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    match fields > rules.max_header_bytes || request.headers().len() > rules.max_headers {
        true => Err(Failure::HeaderTooLarge),
        false => Ok(fields),
    }
}

fn check_coding(headers: &HeaderMap) -> Result<(), Failure> {
    let lines = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = lines.fold(Coding::None, |coding, line| coding.with(line.as_bytes()));
    if coding != Coding::None {
        coding.is_chunked(headers.contains_key(CONTENT_LENGTH)).map_err(|malformed| Failure::BadRequest(malformed.0))?;
    }
    Ok(())
}

/// A path, a whole URI, or `*` for OPTIONS; a bare authority is for CONNECT alone (RFC 9112 3.2).
fn check_form<B>(request: &Request<B>) -> Result<(), Failure> {
    let target = request.uri();
    let is_bare = target.scheme().is_none() && target.authority().is_some();
    match is_bare || (target.path() == "*" && *request.method() != Method::OPTIONS) {
        true => Err(Failure::BadRequest("the target is neither a path nor a URI")),
        false => Ok(()),
    }
}

fn check_host<B>(request: &Request<B>) -> Result<Option<&HeaderValue>, Failure> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, _) if request.version() == Version::HTTP_10 => return check_absolute(request.uri(), None).map(|()| None),
        (None, _) => return Err(Failure::BadRequest("the request needs a Host")),
        (Some(_), Some(_)) => return Err(Failure::BadRequest("more than one Host")),
    };
    match is_host(host.as_bytes()) {
        true => check_absolute(request.uri(), Some(host.as_bytes())).map(|()| Some(host)),
        false => Err(Failure::BadRequest("Host is no host name and no address")),
    }
}

/// A target that names its server names the one in Host.
fn check_absolute(target: &Uri, host: Option<&[u8]>) -> Result<(), Failure> {
    let Some(authority) = target.authority() else { return Ok(()) };
    let scheme = target.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") || !is_host(authority.as_str().as_bytes()) {
        return Err(Failure::BadRequest("the target names no server of HTTP"));
    }
    match host.is_none_or(|host| host.eq_ignore_ascii_case(authority.as_str().as_bytes())) {
        true => Ok(()),
        false => Err(Failure::BadRequest("the target names another server than Host")),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 7.2), without user information, percent-encoding or emptiness.
fn is_host(host: &[u8]) -> bool {
    let end = match host.starts_with(b"[") {
        true => host.iter().position(|&byte| byte == b']').map_or(host.len(), |at| at + 1),
        false => host.iter().position(|&byte| byte == b':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    (is_name(name) || is_ipv6(name)) && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// Digits up to 65535, or none.
fn is_port(port: &[u8]) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    port.iter().try_fold(0_u16, |number, &byte| number.checked_mul(10)?.checked_add(digit(byte)?)).is_some()
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| IN_NAMES[usize::from(byte)])
}

/// RFC 3986 2.3, unreserved characters, by their code.
static IN_NAMES: [bool; 256] = {
    let (mut table, mut code) = ([false; 256], 0_u8);
    while code < 128 {
        table[code as usize] = code.is_ascii_alphanumeric() || matches!(code, b'-' | b'.' | b'_' | b'~');
        code += 1;
    }
    table
};

/// In brackets.
fn is_ipv6(name: &[u8]) -> bool {
    let bare = name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    bare.and_then(|bare| std::str::from_utf8(bare).ok()).is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(target: &str, version: Version, headers: &[(&str, &str)]) -> Request<()> {
        let builder = Request::builder().uri(target).version(version);
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).expect("a request")
    }

    fn passes(target: &str, headers: &[(&str, &str)]) -> bool {
        check_request(&request(target, Version::HTTP_11, headers)).is_ok()
    }

    #[test]
    fn exactly_one_valid_host_passes() {
        for host in ["example.com", "a_b.example", "127.0.0.1:80", "[::1]", "[::1]:8080", "localhost:", "x"] {
            assert!(passes("/", &[("host", host)]), "{host}");
        }
        for host in ["", "a b", "a/b", "user@a", "a:b", "a:65536", "a:123456", "[::1", "[zz]", "a%20b", "a,b", "[::1]x", ":80"] {
            assert!(!passes("/", &[("host", host)]), "{host}");
        }
        assert!(!passes("/", &[]));
        assert!(!passes("/", &[("host", "a"), ("host", "a")]));
        assert!(check_request(&request("/", Version::HTTP_10, &[])).is_ok());
    }

    #[test]
    fn an_absolute_target_must_agree_with_host() {
        assert!(passes("http://a.example/x", &[("host", "A.example")]));
        assert!(!passes("http://a.example/x", &[("host", "b.example")]));
        assert!(!passes("http://a.example:81/x", &[("host", "a.example")]));
        assert!(!passes("ftp://a.example/x", &[("host", "a.example")]));
        assert!(!passes("http://user@a.example/x", &[("host", "user@a.example")]));
    }

    #[test]
    fn a_target_is_a_path_or_a_uri() {
        assert!(!passes("*", &[("host", "a")]));
        assert!(!passes("a", &[("host", "a")]));
        assert!(!passes("a:80", &[("host", "a:80")]));
    }

    #[test]
    fn only_a_single_plain_chunked_passes() {
        let host = ("host", "a");
        assert!(passes("/", &[host, ("transfer-encoding", "Chunked")]));
        for coding in ["gzip, chunked", "chunked, chunked", "identity", " chunked,", "\tchunked;a=b", "chunked,"] {
            assert!(!passes("/", &[host, ("transfer-encoding", coding)]), "{coding}");
        }
        assert!(!passes("/", &[host, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]));
        assert!(!passes("/", &[host, ("transfer-encoding", "chunked"), ("content-length", "3")]));
    }

    proptest! {
        #[test]
        fn any_host_is_judged_without_a_panic(host in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = is_host(&host);
        }
    }
}
