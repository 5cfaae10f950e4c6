//! The client's address by the `Forwarded` header (RFC 7239), where the configuration says so.

use crate::support::{Gateway, Request, Upstream};

const ON: &str = "client_ip.header = \"Forwarded\"\nclient_ip.trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";

fn with(request: &Request, lines: &[&str]) -> Request {
    lines.iter().fold(request.clone(), |request, line| request.header("Forwarded", line))
}

#[test]
fn trusted_proxies_are_looked_through_from_the_right() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ON);
    let key = gateway.create_key(&["--allowed-ip", "203.0.113.7", "--allowed-ip", "2001:db8::/32"]);
    let request = Request::get("/").key(&key);
    let cases: [(&[&str], u16); 13] = [
        (&["for=203.0.113.7"], 200),
        (&["for=203.0.113.7;proto=https;by=10.1.1.1, for=10.1.1.1"], 200),
        (&["for=203.0.113.7", "for=\"10.1.1.1:80\""], 200),
        (&["for=\"[2001:db8::1]:4711\""], 200),
        (&["for=\"rubbish, for=203.0.113.7"], 200),
        (&["for=198.51.100.1, FOR=\"203.0.113.7\""], 200),
        (&["for=203.0.113.7, for=198.51.100.1"], 403),
        (&["for=203.0.113.7, for=unknown"], 403),
        (&["for=203.0.113.7, for=_hidden, for=10.1.1.1"], 403),
        (&["for=203.0.113.7, proto=https"], 403),
        (&["203.0.113.7"], 403),
        (&["for=203.0.113.7", "for=203.0.113.7;for=203.0.113.7"], 403),
        (&[], 403),
    ];
    for (lines, expected) in cases {
        assert_eq!(gateway.ask(&with(&request, lines)).status, expected, "{lines:?}");
    }
    assert_eq!(gateway.ask(&request.header("X-Forwarded-For", "203.0.113.7")).status, 403, "the other header is not read");
}

#[test]
fn an_unknown_peer_cannot_say_where_it_comes_from() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "client_ip.header = \"Forwarded\"");
    let key = gateway.create_key(&["--allowed-ip", "203.0.113.7"]);
    gateway.ask(&with(&Request::get("/").key(&key), &["for=203.0.113.7"])).expect(403, "ip_not_allowed");
}

#[test]
fn the_upstream_gets_the_chain_with_the_peer_at_its_end_and_nothing_of_the_other_header() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ON);
    let key = gateway.create_key(&[]);
    let forged = Request::get("/").key(&key).header("X-Forwarded-For", "1.1.1.1").header("X-Forwarded-Host", "forged");
    assert_eq!(gateway.ask(&with(&forged, &["for=203.0.113.7", "for=10.1.1.1"])).status, 200);
    let seen = upstream.request().headers;
    assert_eq!(seen.all("forwarded"), ["for=203.0.113.7, for=10.1.1.1, for=127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-for"), ["203.0.113.7"]);
    assert_eq!(seen.all("x-real-ip"), ["203.0.113.7"]);
    assert_eq!(seen.all("x-forwarded-host"), ["gateway.test"]);
}

#[test]
fn the_scheme_is_what_the_last_trusted_proxy_says_in_the_configured_header() {
    let upstream = Upstream::ok();
    let own = "[[upstreams]]\nname = \"app\"\nservers = [\"http://{app}\"]\n[[routes]]\npath = \"/\"\nscheme = \"https\"\nupstream = \"app\"\nauth = \"none\"";
    let gateway = Gateway::start(upstream.address(), &format!("{ON}\n{own}"));
    for (name, value, expected) in [
        ("Forwarded", "for=203.0.113.7;proto=https", 200),
        ("Forwarded", "for=203.0.113.7;proto=http, for=10.1.1.1;Proto=\"HTTPS\"", 200),
        ("Forwarded", "for=203.0.113.7;proto=https, for=10.1.1.1;proto=http", 404),
        ("Forwarded", "for=203.0.113.7;proto=https, for=10.1.1.1", 404),
        ("X-Forwarded-Proto", "https", 404),
    ] {
        assert_eq!(gateway.ask(&Request::get("/").header(name, value)).status, expected, "{name}: {value}");
    }
}

#[test]
fn where_it_is_not_configured_it_reaches_no_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "client_ip.trusted_proxies = [\"127.0.0.1\"]");
    let key = gateway.create_key(&[]);
    assert_eq!(gateway.ask(&with(&Request::get("/").key(&key), &["for=203.0.113.7"])).status, 200);
    assert_eq!(upstream.request().headers.all("forwarded"), Vec::<&str>::new());
}
