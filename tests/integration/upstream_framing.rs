//! An upstream that breaks the rules harms its own answer and nobody else's.

use crate::support::wire::End;
use crate::support::{Gateway, Request, Upstream};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_not_passed_on() {
    let oversized = format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(1_000_000));
    for answer in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        &oversized,
    ] {
        let upstream = Upstream::saying(answer);
        let gateway = Gateway::start(upstream.address(), OPEN);
        let response = gateway.ask(&Request::get("/"));
        assert!(response.status == 502 && response.code().starts_with("upstream_"), "{answer:?}: {response:?}");
    }
}

/// Either answer is safe; that the client sees both framings is not.
#[test]
fn of_two_framings_the_client_sees_at_most_one() {
    let upstream =
        Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let gateway = Gateway::start(upstream.address(), OPEN);
    let response = gateway.ask(&Request::get("/"));
    if response.status == 502 {
        return response.expect(502, "upstream_protocol");
    }
    assert_eq!((response.status, response.text().as_str(), response.complete), (200, "ok", true));
    assert!(!(response.headers.has("content-length") && response.headers.has("transfer-encoding")), "{response:?}");
}

/// What comes after an answer would be taken for the answer to somebody else's request.
#[test]
fn a_connection_with_surplus_bytes_is_not_used_again() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    for _ in 0..5 {
        assert_eq!(connection.ask(&Request::get("/")).text(), "ok");
    }
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn a_torn_answer_is_seen_to_be_torn() {
    for torn in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    ] {
        let upstream = Upstream::saying(torn);
        let gateway = Gateway::start(upstream.address(), OPEN);
        let response = gateway.ask(&Request::get("/"));
        assert_eq!((response.status, response.complete), (200, false), "{torn:?}: {response:?}");
        assert!("abc".starts_with(&response.text()), "{torn:?}: {response:?}");
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let gateway = Gateway::start(upstream.address(), OPEN);
    let response = gateway.ask(&Request::get("/"));
    assert_eq!((response.status, response.text().as_str(), response.complete), (200, "until the end", true));
}

#[test]
fn hop_by_hop_headers_stay_on_their_hop() {
    let upstream = Upstream::start(|exchange| {
        let hop =
            [("Connection", "keep-alive, X-Drop"), ("Connection", "x-drop-too"), ("Keep-Alive", "timeout=5"), ("X-Drop", "1")];
        let more = [("X-Drop-Too", "1"), ("Proxy-Connection", "close"), ("Upgrade", "h2c"), ("X-Keep", "1")];
        exchange.answer(200, &[hop, more].concat(), "ok");
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let request = Request::get("/")
        .header("Connection", "keep-alive, X-Drop")
        .header("Connection", "x-drop-too, TE, Upgrade, HTTP2-Settings")
        .header("Keep-Alive", "timeout=5")
        .header("X-Drop", "1")
        .header("X-Drop-Too", "1")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "gzip, trailers")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
        .header("X-Keep", "1");
    let response = gateway.ask(&request);
    let seen = upstream.request();
    for name in ["x-drop", "x-drop-too", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!seen.headers.has(name), "{name} reached the upstream: {seen:?}");
        assert!(!response.headers.has(name), "{name} reached the client: {response:?}");
    }
    assert!(!seen.headers.has("http2-settings"), "{seen:?}");
    assert!(seen.headers.get("te").is_none_or(|te| te.eq_ignore_ascii_case("trailers")), "{seen:?}");
    assert_eq!((seen.headers.get("x-keep"), response.header("x-keep"), response.status), (Some("1"), Some("1"), 200));
}

#[test]
fn an_upstream_that_is_gone_is_one_answer_and_back_at_once() {
    let address = Upstream::nowhere();
    let gateway = Gateway::start(address, OPEN);
    let mut connection = gateway.connect();
    connection.ask(&Request::get("/")).expect(502, "upstream_unreachable");
    let listener = std::net::TcpListener::bind(address).expect("the port is still free");
    let upstream = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the gateway connects");
        let mut wire = crate::support::wire::Wire::new(stream);
        wire.head().expect("a request comes");
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback").expect("it can be answered");
    });
    assert_eq!(connection.ask(&Request::get("/")).text(), "back");
    upstream.join().expect("the upstream did not panic");
}

#[test]
fn a_reset_upstream_is_a_bad_gateway_and_the_next_request_is_served() {
    let upstream = Upstream::start(|exchange| match exchange.seen.target.as_str() {
        "/reset" => exchange.reset(),
        _ => exchange.answer(200, &[], "ok"),
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    let refused = connection.ask(&Request::post("/reset", "x"));
    assert_eq!(refused.status, 502, "{refused:?}");
    if refused.header("connection") != Some("close") {
        assert_eq!(connection.ask(&Request::get("/")).status, 200, "after {refused:?}");
        connection.finish();
    }
    assert_eq!(connection.end(), End::Closed);
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
}
