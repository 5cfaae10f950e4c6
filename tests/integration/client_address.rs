//! Which address a request is judged by, and which keys it may use from there.

use crate::support::{Gateway, Request, Upstream};

const BEHIND_PROXIES: &str = "client_ip.trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";

/// The status of a request with a key, with one line of `X-Forwarded-For` for each of `lines`.
fn status(gateway: &Gateway, request: &Request, lines: &[&str]) -> u16 {
    let request = lines.iter().fold(request.clone(), |request, line| request.header("X-Forwarded-For", line));
    gateway.ask(&request).status
}

#[test]
fn an_unknown_peer_cannot_say_where_it_comes_from() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let elsewhere = gateway.create_key(&["--allowed-ip", "203.0.113.7"]);
    let here = gateway.create_key(&["--allowed-ip", "127.0.0.0/8"]);
    let refused = gateway.ask(&Request::get("/").key(&elsewhere).header("X-Forwarded-For", "203.0.113.7"));
    refused.expect(403, "ip_not_allowed");
    assert_eq!(status(&gateway, &Request::get("/").key(&here), &["203.0.113.7"]), 200);
    assert_eq!(status(&gateway, &Request::get("/").key(&here), &["rubbish"]), 200);
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn trusted_proxies_are_looked_through_from_the_right() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), BEHIND_PROXIES);
    let key =
        gateway.create_key(&["--allowed-ip", "203.0.113.0/24", "--allowed-ip", "2001:db8::/32", "--allowed-ip", "10.2.2.2"]);
    let cases: [(&[&str], u16); 20] = [
        (&["203.0.113.7"], 200),
        (&["203.0.113.7, 10.1.1.1"], 200),
        (&["203.0.113.7,10.1.1.1,127.0.0.9"], 200),
        (&["203.0.113.7", "10.1.1.1"], 200),
        (&["198.51.100.1, 203.0.113.7"], 200),
        (&["rubbish, 203.0.113.7"], 200),
        (&["::ffff:203.0.113.7"], 200),
        (&["203.0.113.7:4711"], 200),
        (&["2001:db8::1"], 200),
        (&["[2001:db8::1]"], 200),
        (&["[2001:db8::1]:4711"], 200),
        (&["203.0.113.7, ::ffff:10.1.1.1"], 200),
        (&["10.2.2.2, 10.1.1.1"], 200),
        (&["10.1.1.1, 10.2.2.2"], 403),
        (&["203.0.113.7, 198.51.100.1"], 403),
        (&["203.0.113.7", "198.51.100.1"], 403),
        (&["203.0.113.7, rubbish"], 403),
        (&["203.0.113.7, rubbish, 10.1.1.1"], 403),
        (&["203.0.113.7, unknown"], 403),
        (&[], 403),
    ];
    for (lines, expected) in cases {
        assert_eq!(status(&gateway, &Request::get("/").key(&key), lines), expected, "{lines:?}");
    }
}

#[test]
fn an_address_nobody_can_read_matters_only_to_a_key_with_a_list() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), BEHIND_PROXIES);
    let anywhere = gateway.create_key(&[]);
    let everywhere = gateway.create_key(&["--allowed-ip", "0.0.0.0/0", "--allowed-ip", "::/0"]);
    assert_eq!(status(&gateway, &Request::get("/").key(&anywhere), &["203.0.113.7, rubbish"]), 200);
    assert_eq!(status(&gateway, &Request::get("/").key(&everywhere), &["203.0.113.7, rubbish"]), 403);
}

#[test]
fn only_the_configured_header_is_believed() {
    let upstream = Upstream::ok();
    let own = format!("{BEHIND_PROXIES}\nclient_ip.header = \"X-Edge-Client\"");
    let gateway = Gateway::start(upstream.address(), &own);
    let key = gateway.create_key(&["--allowed-ip", "203.0.113.7"]);
    for name in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP", "CF-Connecting-IP", "X_Edge_Client"] {
        let value = if name == "Forwarded" { "for=203.0.113.7" } else { "203.0.113.7" };
        assert_eq!(gateway.ask(&Request::get("/").key(&key).header(name, value)).status, 403, "{name}");
    }
    assert_eq!(gateway.ask(&Request::get("/").key(&key).header("x-edge-client", "203.0.113.7")).status, 200);
}

#[test]
fn the_verdict_is_made_for_each_request_anew() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), BEHIND_PROXIES);
    let key = gateway.create_key(&["--allowed-ip", "203.0.113.7"]);
    let mut connection = gateway.connect();
    for (client, expected) in [("203.0.113.7", 200), ("203.0.113.8", 403), ("203.0.113.7", 200), ("203.0.113.8", 403)] {
        let request = Request::get("/").key(&key).header("X-Forwarded-For", client);
        assert_eq!(connection.ask(&request).status, expected, "{client}");
    }
}

#[test]
fn the_upstream_gets_the_chain_with_the_peer_at_its_end() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), BEHIND_PROXIES);
    let key = gateway.create_key(&[]);
    assert_eq!(status(&gateway, &Request::get("/").key(&key), &["203.0.113.7", "10.1.1.1"]), 200);
    let seen = upstream.request();
    assert_eq!(seen.headers.all("x-forwarded-for").join(", "), "203.0.113.7, 10.1.1.1, 127.0.0.1");
    assert_eq!(seen.headers.all("x-real-ip"), ["203.0.113.7"]);
}
