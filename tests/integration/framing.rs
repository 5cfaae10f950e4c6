//! No two readers of a connection may disagree on where a request ends: what could be read in two ways is refused.

use crate::support::wire::End;
use crate::support::{Gate, Gateway, Request, Upstream, eventually};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// Stands behind every bad request: it must never be served.
const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

/// Each is answered 400, the connection is closed, and neither it nor what stands behind it reaches the upstream.
#[track_caller]
fn all_refused(requests: &[&str]) {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut otherwise = Vec::new();
    for request in requests {
        let mut connection = gateway.connect();
        connection.send(format!("{request}{NEXT}"));
        match connection.response().status {
            400 => assert_eq!(connection.end(), End::Closed, "{request:?}"),
            status => otherwise.push((request, status)),
        }
    }
    assert!(otherwise.is_empty(), "not refused: {otherwise:#?}");
    // One after them all: had any of them been passed on, it would have come before.
    assert_eq!(gateway.ask(&Request::get("/last")).status, 200);
    assert_eq!(upstream.request().target, "/last");
}

#[test]
fn a_body_has_one_length() {
    all_refused(&[
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
    ]);
}

#[test]
fn chunked_is_the_only_transfer_encoding() {
    all_refused(&[
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]);
}

#[test]
fn a_host_is_named_once_and_well() {
    all_refused(&[
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:port\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\n\r\n",
    ]);
}

#[test]
fn a_target_that_names_another_host_is_refused() {
    all_refused(&[
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    ]);
}

#[test]
fn header_lines_are_read_strictly() {
    all_refused(&[
        "GET / HTTP/1.1\r\nHost: a\r\nX-Folded: one\r\n two\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n X-Leading: space\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Nul: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Cr: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\x01Name: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX(Name): a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]);
}

#[test]
fn tunnels_to_anywhere_are_refused() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    connection.send("CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n");
    let status = connection.response().status;
    assert!((400..=501).contains(&status), "{status}");
    assert_eq!(upstream.connections(), 0);
}

/// Either answer is safe; that both lengths count is not.
#[test]
fn of_two_framings_at_most_one_counts() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    for lengths in ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 44"] {
        let mut connection = gateway.connect();
        connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\n0\r\n\r\n{NEXT}"));
        let response = connection.response();
        assert!([200, 400].contains(&response.status), "{response:?}");
        assert_eq!(connection.end(), End::Closed);
    }
    for seen in upstream.requests() {
        assert_eq!(seen.target, "/");
        assert!(!seen.headers.has("content-length") || !seen.headers.has("transfer-encoding"), "{seen:?}");
    }
}

/// The head was good, so the upstream may have it; a torn body must not look whole there.
#[test]
fn bad_chunks_are_never_completed_towards_the_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    for chunks in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcdef\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcX\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut connection = gateway.connect();
        connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{NEXT}"));
        let response = connection.response();
        assert_eq!(response.status, 400, "{chunks:?}: {response:?}");
        assert_eq!(connection.end(), End::Closed, "{chunks:?}");
    }
    for seen in upstream.requests() {
        assert!(seen.target == "/" && !seen.complete, "{seen:?}");
    }
}

#[test]
fn what_is_in_good_form_passes() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    for (request, body) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost:\ta_b.example \t\r\n\r\n", ""),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n01\r\nc\r\n0\r\n\r\n", "abc"),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
    ] {
        let before = upstream.requests().len();
        let mut connection = gateway.connect();
        connection.send(request);
        assert_eq!(connection.response().status, 200, "{request:?}");
        let seen = upstream.requests()[before].clone();
        assert_eq!(
            (String::from_utf8_lossy(&seen.body).as_ref(), seen.complete, seen.target.as_str()),
            (body, true, "/"),
            "{request:?}"
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|exchange| {
        let target = exchange.seen.target.clone();
        exchange.answer(200, &[], target);
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    let requests = [Request::get("/1"), Request::post("/2", "GET /no HTTP/1.1\r\nHost: a\r\n\r\n"), Request::get("/3")];
    connection.send(requests.map(|request| request.bytes()).concat());
    for expected in ["/1", "/2", "/3"] {
        assert_eq!(connection.response().text(), expected);
    }
    assert_eq!(upstream.requests().len(), 3);
}

/// The gateway looks a little into them to see whether the client is still there, and no further.
#[test]
fn requests_that_come_while_another_is_answered_are_answered_after_it() {
    let gate = Gate::default();
    let opened = gate.clone();
    let upstream = Upstream::start(move |exchange| {
        opened.wait();
        let target = exchange.seen.target.clone();
        exchange.answer(200, &[], target);
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    connection.send(Request::get("/1").bytes());
    eventually("the first is under way", || gateway.metric("gateway_requests_in_flight") == 1);
    for target in ["/2", "/3"] {
        connection.send(Request::get(target).header("X-Long", &"x".repeat(1000)).bytes());
    }
    gate.open();
    for expected in ["/1", "/2", "/3"] {
        assert_eq!(connection.response().text(), expected);
    }
    assert_eq!(upstream.requests()[2].headers.get("x-long").map(str::len), Some(1000));
}

/// The client is still sending when it is refused: it must be able to read why, and the rest is no request.
#[test]
fn a_refusal_in_the_midst_of_an_upload_is_readable_and_the_rest_is_no_request() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let smuggled = String::from_utf8(Request::get("/smuggled").key(&key).bytes()).expect("a text");
    for length in [smuggled.len(), 50_000_000] {
        let mut connection = gateway.connect();
        connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        let upload = smuggled.repeat(length.min(4_000_000) / smuggled.len());
        // It may stop taking bytes at some point; the answer is there all the same.
        let _ = connection.try_send(upload);
        connection.response().expect(401, "missing_key");
    }
    assert_eq!(gateway.ask(&Request::get("/last").key(&key)).status, 200);
    assert_eq!(upstream.request().target, "/last");
}

#[test]
fn a_torn_upload_is_never_completed_towards_the_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    for torn in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut connection = gateway.connect();
        connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{torn}"));
        connection.finish();
        drop(connection);
    }
    // Heads may have been passed on before the end was seen; whole requests must not.
    assert_eq!(gateway.ask(&Request::get("/last")).status, 200);
    eventually("the gateway is done with them", || gateway.metric("gateway_requests_in_flight") == 0);
    let whole: Vec<_> = upstream.requests().into_iter().filter(|seen| seen.complete).map(|seen| seen.target).collect();
    assert_eq!(whole, ["/last"]);
}
