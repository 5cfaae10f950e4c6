//! Bodies pass as they come, in both directions, whatever they are framed by.

use crate::support::wire::{End, Framing};
use crate::support::{Gate, Gateway, Request, Upstream, eventually};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

#[test]
fn an_event_arrives_before_the_next_one_is_sent() {
    let seen = Gate::default();
    let upstream = Upstream::start({
        let seen = seen.clone();
        move |exchange| {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            exchange.chunk("data: first\n\n");
            seen.wait();
            exchange.chunk("data: second\n\n");
            exchange.send("0\r\n\r\n");
        }
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    connection.send(Request::get("/").bytes());
    let (status, head) = connection.head();
    assert_eq!((status, head.framing(Framing::None)), (200, Framing::Chunked));
    assert_eq!(connection.wire().chunk().expect("the first event"), b"data: first\n\n");
    seen.open();
    assert_eq!(connection.wire().chunk().expect("the second event"), b"data: second\n\n");
}

#[test]
fn an_upload_reaches_the_upstream_before_its_next_part_is_sent() {
    let first = Gate::default();
    let upstream = Upstream::start({
        let first = first.clone();
        move |exchange| {
            assert_eq!(exchange.wire().chunk().expect("the first part"), b"first");
            first.open();
            exchange.answer(200, &[], "ok");
        }
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    first.wait();
    connection.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(connection.response().status, 200);
    assert_eq!(upstream.request().body, b"second");
}

/// An upstream that answers while it is still told something, as a transcoder does.
#[test]
fn an_upload_goes_on_after_its_answer_has_begun() {
    let upstream = Upstream::start(|exchange| {
        assert_eq!(exchange.wire().chunk().expect("the first part"), b"first");
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("FIRST");
        let rest = exchange.body();
        exchange.chunk(&String::from_utf8(rest).expect("a text").to_uppercase());
        exchange.send("0\r\n\r\n");
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    assert_eq!(connection.head().0, 200);
    assert_eq!(connection.wire().chunk().expect("the first part of the answer"), b"FIRST");
    connection.send("6\r\nsecond\r\n0\r\n\r\n");
    let rest = connection.wire().body(Framing::Chunked);
    assert_eq!((rest.bytes.as_slice(), rest.complete), (b"SECOND".as_slice(), true));
    assert!(upstream.request().complete);
}

#[test]
fn large_bodies_pass_whole_both_ways() {
    let pattern: Vec<u8> = (0..64_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let upstream = Upstream::start({
        let pattern = pattern.clone();
        move |exchange| {
            if exchange.seen.method == "GET" {
                return exchange.answer(200, &[], &pattern);
            }
            let same = exchange.body() == pattern;
            exchange.answer(200, &[], same.to_string());
        }
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let download = gateway.ask(&Request::get("/"));
    assert!(download.complete && download.body == pattern, "{} bytes came", download.body.len());
    assert_eq!(gateway.ask(&Request::post("/", &pattern)).text(), "true");
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::start(|exchange| {
        exchange.body();
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        exchange.chunk("body");
        exchange.send("0\r\nX-Sum: 42\r\n\r\n");
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Up\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\nX-Up: 7\r\n\r\n");
    let response = connection.response();
    assert_eq!((response.text().as_str(), response.trailers.get("x-sum")), ("body", Some("42")));
    assert_eq!(upstream.request().trailers.get("x-up"), Some("7"));
}

/// A client asked to continue sends its body, so it must not be asked before it is known to be let in.
#[test]
fn a_client_is_told_to_continue_only_once_it_is_let_in() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let request = |key: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    };
    let mut refused = gateway.connect();
    refused.send(request("a-key-of-nobody-at-all"));
    assert_eq!(refused.head().0, 401);
    let mut connection = gateway.connect();
    connection.send(request(&key.secret));
    assert_eq!(connection.head().0, 100);
    connection.send("hello");
    assert_eq!(connection.response().status, 200);
    assert_eq!(upstream.request().body, b"hello");
}

#[test]
fn early_hints_never_spoil_the_answer_after_them() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
        exchange.answer(200, &[], "ok");
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    for _ in 0..3 {
        let response = connection.ask(&Request::get("/"));
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        assert!(!response.headers.has("link"), "{response:?}");
    }
}

#[test]
fn answers_without_a_body_leave_the_connection_usable() {
    let upstream = Upstream::start(|exchange| match exchange.seen.target.as_str() {
        "/204" => exchange.send("HTTP/1.1 204 No Content\r\nX-Kept: yes\r\n\r\n"),
        "/304" => exchange.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nX-Kept: yes\r\n\r\n"),
        "/head" => exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-Kept: yes\r\n\r\n"),
        _ => exchange.answer(200, &[], ""),
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    for (method, target, status) in [("GET", "/204", 204), ("GET", "/304", 304), ("HEAD", "/head", 200)] {
        let response = connection.ask(&Request::new(method, target));
        assert_eq!((response.status, response.header("x-kept")), (status, Some("yes")), "{target}");
        if method == "HEAD" {
            assert_eq!(response.header("content-length"), Some("1234"));
        }
        assert_eq!(connection.ask(&Request::get("/")).status, 200, "after {target}");
    }
}

#[test]
fn an_http_1_0_client_is_served_in_its_own_way() {
    let upstream = Upstream::start(|exchange| match exchange.seen.target.as_str() {
        "/chunked" => {
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            exchange.chunk("in chunks");
            exchange.send("0\r\n\r\n");
        }
        _ => exchange.answer(200, &[], "sized"),
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut closing = gateway.connect();
    closing.send("GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = closing.response();
    assert!(!response.headers.has("transfer-encoding"), "HTTP/1.0 knows no chunks: {response:?}");
    assert_eq!(response.text(), "in chunks");
    assert_eq!(closing.end(), End::Closed);
    let mut kept = gateway.connect();
    for _ in 0..2 {
        kept.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        let response = kept.response();
        assert_eq!(response.text(), "sized");
        assert!(response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")), "{response:?}");
    }
    let mut nameless = gateway.connect();
    nameless.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(nameless.response().text(), "sized", "HTTP/1.0 needs no Host");
}

#[test]
fn a_websocket_is_a_tunnel_for_those_who_are_let_in() {
    let upstream = Upstream::start(|exchange| {
        assert_eq!(exchange.seen.headers.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(exchange.seen.headers.get("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")));
        exchange.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: yes\r\n\r\n",
        );
        exchange.send("hello from the upstream");
        while let Ok(bytes) = exchange.wire().exactly(4) {
            exchange.send([b"<", bytes.as_slice(), b">"].concat());
        }
        exchange.close();
    });
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let upgrade = Request::get("/socket")
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    gateway.ask(&upgrade).expect(401, "missing_key");
    assert_eq!(upstream.connections(), 0);
    let mut connection = gateway.connect();
    connection.send(upgrade.key(&key).bytes());
    let (status, head) = connection.head();
    assert_eq!((status, head.headers.get("sec-websocket-accept")), (101, Some("yes")));
    assert!(head.headers.get("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")), "{head:?}");
    assert_eq!(connection.wire().exactly(23).expect("a greeting"), b"hello from the upstream");
    for word in ["ping", "pong"] {
        connection.send(word);
        assert_eq!(connection.wire().exactly(6).expect("an echo"), format!("<{word}>").as_bytes());
    }
    connection.finish();
    assert_eq!(connection.end(), End::Closed);
}

/// A server that speaks first may do so at once, and a client that does not wait for the 101 may, too.
#[test]
fn bytes_that_come_together_with_the_switch_are_the_first_of_the_tunnel() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        assert_eq!(exchange.wire().exactly(5).expect("what the client sent"), b"early");
        exchange.close();
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let upgrade = Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let mut connection = gateway.connect();
    connection.send([upgrade.bytes(), b"early".to_vec()].concat());
    assert_eq!(connection.head().0, 101);
    assert_eq!(connection.wire().exactly(5).expect("what the upstream sent"), b"hello");
    assert_eq!(connection.end(), End::Closed);
}

#[test]
fn bytes_that_come_before_the_switch_are_the_first_of_the_tunnel() {
    let (gate, sent) = (Gate::default(), vec![b'e'; 1000]);
    let (opened, expected) = (gate.clone(), sent.clone());
    let upstream = Upstream::start(move |exchange| {
        opened.wait();
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(exchange.wire().exactly(1000).expect("what the client sent"), expected);
        exchange.close();
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    connection.send(Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket").bytes());
    eventually("it is under way", || gateway.metric("gateway_requests_in_flight") == 1);
    connection.send(sent);
    gate.open();
    assert_eq!(connection.head().0, 101);
    assert_eq!(connection.end(), End::Closed);
}

/// An upstream may refuse to switch; then it is a plain answer.
#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = Upstream::start(|exchange| exchange.answer(426, &[], "no"));
    let gateway = Gateway::start(upstream.address(), OPEN);
    let upgrade = Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let response = gateway.ask(&upgrade);
    assert_eq!((response.status, response.text().as_str()), (426, "no"));
}
