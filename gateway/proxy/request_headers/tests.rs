use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::*;
use crate::clock;
use crate::model::address::PeerAddr;

/// The fields that an upstream sees of these, one a line; `change` alters what decides.
fn sent(lines: &[(&'static str, &'static str)], change: impl FnOnce(&mut RequestHeaders<'_>)) -> Vec<String> {
    let none = IdentityHeaders { user_id: None, key_id: None, key_name: None, environment: None, scopes: None };
    let mut received = HeaderMap::new();
    for (name, value) in lines {
        received.append(*name, HeaderValue::from_static(value));
    }
    let mut headers = RequestHeaders {
        received: &received,
        client: &Client::new(PeerAddr::new("192.0.2.7:1".parse().expect("an address")), Scheme::Http, clock::monotonic()),
        address: None,
        scheme: Scheme::Http,
        peer_is_trusted: false,
        speaks_forwarded: false,
        request_id: &RequestId::Given(HeaderValue::from_static("r1")),
        rules: &HeaderRules::default(),
        reserved: &ReservedHeaders::new(&none),
        cut: None,
        host: None,
        websocket: false,
        identity: None,
    };
    change(&mut headers);
    let mut head = RequestHead::new(Method::GET, &PathAndQuery::from_static("/"));
    headers.write(&mut head);
    head.written().lines().skip(1).map(str::to_owned).collect()
}

/// The same without what the gateway says of itself.
fn passed(lines: &[(&'static str, &'static str)]) -> Vec<String> {
    let ours = ["x-forwarded-", "x-real-ip", "x-request-id"];
    sent(lines, |_| {}).into_iter().filter(|line| !ours.iter().any(|name| line.starts_with(name))).collect()
}

#[test]
fn what_belongs_to_the_connection_ends_with_it() {
    let lines = [
        ("connection", "keep-alive, X-Private"),
        ("connection", "x-second"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("te", "gzip"),
        ("x-private", "1"),
        ("x-second", "1"),
        ("accept", "*/*"),
    ];
    assert_eq!(passed(&lines), ["accept: */*"]);
}

#[test]
fn te_trailers_alone_passes() {
    assert_eq!(passed(&[("te", "gzip, trailers")]), ["te: trailers"]);
}

#[test]
fn the_addressee_cannot_be_removed_by_a_connection_line() {
    assert_eq!(passed(&[("connection", "host"), ("host", "a")]), ["host: a"]);
}

#[test]
fn identity_headers_of_a_client_are_removed() {
    assert_eq!(passed(&[("x-user-id", "root"), ("x_user_id", "root"), ("x-user", "a")]), ["x-user: a"]);
}

#[test]
fn the_peer_is_appended_to_one_joined_line() {
    let lines = [
        ("x-forwarded-for", "1.1.1.1"),
        ("host", "a"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "1.1.1.1"),
        ("x-forwarded-host", "b"),
        ("x-request-id", "forged"),
    ];
    let told = [
        "host: a",
        "x-forwarded-for: 1.1.1.1, 2.2.2.2, 192.0.2.7",
        "x-real-ip: 192.0.2.7",
        "x-forwarded-proto: http",
        "x-forwarded-host: a",
        "x-request-id: r1",
    ];
    assert_eq!(sent(&lines, |_| {}), told);
}

/// An app may believe either header: the one that is not ours to extend holds nothing of a client's.
#[test]
fn of_forwarded_and_x_forwarded_one_is_extended_and_the_other_never_passes() {
    let lines = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("x-forwarded-host", "b"), ("host", "a")];
    let told = |speaks_forwarded| {
        let all = sent(&lines, |headers| (headers.speaks_forwarded, headers.peer_is_trusted) = (speaks_forwarded, true));
        all.into_iter().filter(|line| line.contains("forwarded")).collect::<Vec<_>>()
    };
    let x_forwarded = ["x-forwarded-host: b", "x-forwarded-for: 2.2.2.2, 192.0.2.7", "x-forwarded-proto: http"];
    assert_eq!(told(false), x_forwarded);
    let forwarded =
        ["forwarded: for=1.1.1.1, for=192.0.2.7", "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http", "x-forwarded-host: a"];
    assert_eq!(told(true), forwarded);
}

#[test]
fn a_trusted_proxys_word_on_the_host_is_kept_and_a_connection_line_takes_it_away() {
    let told = |lines: &[(&'static str, &'static str)]| {
        let all = sent(lines, |headers| headers.peer_is_trusted = true);
        all.into_iter().filter(|line| line.starts_with("x-forwarded-host")).collect::<Vec<_>>()
    };
    assert_eq!(told(&[("host", "a"), ("x-forwarded-host", "b")]), ["x-forwarded-host: b"]);
    assert_eq!(told(&[("host", "a")]), ["x-forwarded-host: a"]);
    let named = [("host", "a"), ("x-forwarded-host", "b"), ("connection", "x-forwarded-host")];
    assert_eq!(told(&named), ["x-forwarded-host: a"]);
}

#[test]
fn a_connection_line_takes_away_former_addresses_and_not_the_peers() {
    let lines = [("x-forwarded-for", "1.1.1.1"), ("connection", "x-forwarded-for, x-real-ip, x-request-id")];
    let told = ["x-forwarded-for: 192.0.2.7", "x-real-ip: 192.0.2.7", "x-forwarded-proto: http", "x-request-id: r1"];
    assert_eq!(sent(&lines, |_| {}), told);
}

#[test]
fn a_rule_removes_and_replaces_the_clients_headers_and_ours() {
    let (removed, set) = (HeaderName::from_static("x-real-ip"), HeaderName::from_static("x-forwarded-for"));
    let rules: &'static HeaderRules = Box::leak(Box::new(HeaderRules {
        remove: vec![removed, HeaderName::from_static("cookie")],
        set: vec![(set, HeaderValue::from_static("hidden")), (HeaderName::from_static("accept"), HeaderValue::from_static("b"))],
    }));
    let lines = [("accept", "a"), ("cookie", "c"), ("x-forwarded-for", "1.1.1.1")];
    let told = ["x-forwarded-proto: http", "x-request-id: r1", "x-forwarded-for: hidden", "accept: b"];
    assert_eq!(sent(&lines, |headers| headers.rules = rules), told);
}

#[test]
fn credentials_are_cut_unless_the_route_wants_them_forwarded() {
    let accept = Accept { bearer: true, apikey: true, x_api_key: true, query: false };
    let lines = [("authorization", "Bearer a"), ("authorization", "Basic b"), ("x-api-key", "c")];
    let cut: Vec<_> = sent(&lines, |headers| headers.cut = Some((accept, "hk")));
    assert_eq!(cut[0], "authorization: Basic b");
    assert!(!cut.iter().any(|line| line.starts_with("x-api-key")));
    assert_eq!(passed(&lines), ["authorization: Bearer a", "authorization: Basic b", "x-api-key: c"]);
}
