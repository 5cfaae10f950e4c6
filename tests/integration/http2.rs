//! HTTP/2 from clients: what holds over HTTP/1.1 holds for each stream, and no frame does harm.

use std::sync::Arc;

use http_body_util::Full;

use crate::support::http2::{Http2, empty, get};
use crate::support::raw_http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE, PROTOCOL_ERROR, RST_STREAM, RawHttp2,
    SETTINGS, WINDOW_UPDATE, block, frame, head,
};
use crate::support::tls::{Authority, TlsConnection};
use crate::support::{Gate, Gateway, Request, Upstream, eventually};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

fn open_with(upstream: &Upstream, own: &str) -> Gateway {
    Gateway::start(upstream.address(), &format!("{own}\n{OPEN}"))
}

#[test]
fn a_request_reaches_the_upstream_as_one_of_http1() {
    let upstream = Upstream::start(|exchange| {
        exchange.body();
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: a\r\n\r\n");
        exchange.chunk("answer");
        exchange.send("0\r\nX-End: yes\r\n\r\n");
    });
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let http2 = Http2::to(gateway.address());
    assert_eq!(http2.ask(empty(get("/"))).status, 401);
    let request = http::Request::post("https://gateway.test:81/a?b=c")
        .header("authorization", format!("Bearer {}", key.secret))
        .header("cookie", "a=b")
        .header("cookie", "c=d");
    let answer = http2.ask(request.body(Full::from("upload")).expect("a request"));
    assert_eq!((answer.status, &*answer.body), (200, &b"answer"[..]));
    assert_eq!(answer.trailers.get("x-end").map(http::HeaderValue::as_bytes), Some(&b"yes"[..]));
    assert!(answer.headers.contains_key("x-ratelimit-limit"), "{answer:?}");
    for hop in ["connection", "x-hop", "keep-alive", "transfer-encoding"] {
        assert!(!answer.headers.contains_key(hop), "{hop}: {answer:?}");
    }
    let seen = upstream.request();
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.body.as_slice()), ("POST", "/a?b=c", &b"upload"[..]));
    assert_eq!(seen.headers.all("host"), ["gateway.test:81"]);
    assert_eq!(seen.headers.all("cookie"), ["a=b; c=d"]);
    assert_eq!(seen.headers.all("x-user-id"), ["ada"]);
}

#[test]
fn it_is_agreed_on_in_the_handshake_of_tls() {
    let upstream = Upstream::ok();
    let authority = Authority::new();
    let tls = "server.tls = { listen = [\"127.0.0.1:0\"], certificate = \"cert.pem\", private_key = \"cert-key.pem\" }";
    let mut gateway = Gateway::stopped(upstream.address(), &format!("{tls}\n{OPEN}"));
    authority.make(&["gateway.test"]).write(gateway.folder(), "cert");
    gateway.run();
    let mut client = authority.client();
    client.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let mut connection = TlsConnection::resuming(gateway.tls_address(), "gateway.test", &Arc::new(client)).expect("a handshake");
    assert_eq!(connection.session().alpn_protocol(), Some(&b"h2"[..]));
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, head("GET", "/", &[]));
    connection.send([PREFACE, &frame(SETTINGS, 0, 0, []), &request].concat()).expect("it is taken");
    eventually("it came", || upstream.requests().len() == 1);
    assert_eq!(upstream.request().headers.all("x-forwarded-proto"), ["https"]);
}

#[test]
fn what_is_no_request_of_http1_gets_its_answer() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.max_header_bytes = \"1KiB\"\nserver.max_uri_bytes = \"100B\"");
    let http2 = Http2::to(gateway.address());
    let status = |request| http2.ask(empty(request)).status;
    assert_eq!(status(get("/").header("x-large", "x".repeat(2000))), 431);
    assert_eq!(status(get(&format!("/{}", "x".repeat(200)))), 414);
    assert_eq!(status(get("/").header("host", "elsewhere")), 400);
    assert_eq!(status(get("/").method("TRACE")), 405);
    assert_eq!(upstream.requests().len(), 0);
    let head = http2.ask(empty(get("/%zz").method("HEAD")));
    assert!(head.status == 400 && head.body.is_empty() && head.headers["content-length"] != "0", "{head:?}");
}

#[test]
fn streams_do_not_wait_for_each_other() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| {
            match exchange.seen.target.as_str() {
                "/slow" => gate.wait(),
                "/last" => gate.open(),
                _ => {}
            }
            exchange.answer(200, &[], "ok");
        }
    });
    let gateway = open_with(&upstream, "");
    let paths = std::iter::repeat_n("/slow", 20).chain(std::iter::repeat_n("/", 60)).chain(["/last"]);
    let answers = Http2::to(gateway.address()).ask_all(paths.map(|path| empty(get(path))).collect());
    assert!(answers.into_iter().all(|answer| answer.is_ok_and(|answer| answer.status == 200)));
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let gateway = Gateway::start(Upstream::nowhere(), "");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS, 1, head("POST", "/", &[])));
    let mut answer = Vec::new();
    while answer.last().is_none_or(|frame: &Frame| frame.kind != RST_STREAM) {
        answer.extend(raw.next());
    }
    let ended = answer.iter().any(|frame| frame.kind == DATA && frame.flags & END_STREAM != 0);
    assert!(ended, "{answer:?}");
    // NO_ERROR: stop sending (RFC 9113 8.1).
    assert_eq!(answer.last().expect("a reset").code(), 0);
}

#[test]
fn what_does_not_come_to_its_end_is_given_up() {
    let upstream = Upstream::ok();
    let own = "server = { handshake_timeout = \"300ms\", header_timeout = \"300ms\", idle_timeout = \"1h\" }";
    let gateway = open_with(&upstream, own);
    let begun = |bytes: &[u8]| {
        let mut raw = RawHttp2::silent(gateway.address());
        raw.send(bytes);
        raw
    };
    let settings = frame(SETTINGS, 0, 0, []);
    let half_a_head = frame(HEADERS, END_STREAM, 1, head("GET", "/", &[]));
    for bytes in [PREFACE[..20].to_vec(), [PREFACE, &settings, &half_a_head].concat()] {
        begun(&bytes).rest();
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn an_idle_connection_is_told_of_its_end() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.idle_timeout = \"300ms\"");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    let goaway = raw.next_of(GOAWAY).expect("it is told");
    assert_eq!(goaway.code(), 0);
    raw.rest();
}

#[test]
fn a_drain_tells_of_the_end_and_completes_what_is_open() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| exchange.half_and_half(&gate)
    });
    let mut gateway = open_with(&upstream, "server.drain_timeout = \"1h\"");
    let mut idle = RawHttp2::to(gateway.address(), &[]);
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head("GET", "/", &[])));
    assert_eq!(raw.next_of(DATA).expect("the first half").payload, b"half");
    gateway.terminate();
    assert_eq!(raw.next_of(GOAWAY).expect("it is told").code(), 0);
    gate.open();
    let last = raw.next_of(DATA).expect("the other half");
    assert_eq!(last.payload, b"full");
    drop(raw);
    assert!(gateway.wait().success());
    assert!(idle.rest().iter().any(|frame| frame.kind == GOAWAY));
}

#[test]
fn a_flood_ends_its_connection_and_no_other() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], "ok"));
    let gateway = open_with(&upstream, "");
    let ask = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, head("GET", "/", &[]));
    let post = frame(HEADERS, END_HEADERS, 1, head("POST", "/", &[]));
    let resets = (0..3000).flat_map(|count| [ask(2 * count + 1), frame(RST_STREAM, 0, 2 * count + 1, [0, 0, 0, 8])].concat());
    // Each window update is an error that makes the gateway reset the stream.
    let provoked = (0..3000).flat_map(|count| [ask(2 * count + 1), frame(WINDOW_UPDATE, 0, 2 * count + 1, [0; 4])].concat());
    let floods = [
        ("pings", frame(PING, 0, 0, b"12345678").repeat(5000)),
        ("settings", frame(SETTINGS, 0, 0, []).repeat(5000)),
        ("empty data", [post.clone(), frame(DATA, 0, 1, []).repeat(5000)].concat()),
        ("priorities", frame(2, 0, 1, [0, 0, 0, 3, 1]).repeat(5000)),
        ("unknown frames", frame(200, 0, 0, b"x").repeat(5000)),
        ("continuations", [frame(HEADERS, 0, 1, head("GET", "/", &[])), frame(CONTINUATION, 0, 1, []).repeat(5000)].concat()),
        (
            "large continuations",
            [frame(HEADERS, 0, 1, []), frame(CONTINUATION, 0, 1, head("GET", "/", &[]).repeat(100)).repeat(500)].concat(),
        ),
        ("resets", resets.collect()),
        ("resets that are provoked", provoked.collect()),
    ];
    for (what, bytes) in floods {
        let mut raw = RawHttp2::to(gateway.address(), &[]);
        raw.send(bytes);
        raw.rest();
        assert_eq!(Http2::to(gateway.address()).ask(empty(get("/"))).status, 200, "{what}");
    }
    eventually("nothing is left", || gateway.metric("gateway_requests_in_flight") == 0);
}

#[test]
fn a_malformed_request_is_reset_and_does_not_reach_the_upstream() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    let with = |fields: &[(&str, &str)]| head("GET", "/", fields);
    for (what, block) in [
        ("a name in upper case", with(&[("X-Upper", "1")])),
        ("a header of the connection", with(&[("connection", "close")])),
        ("a coding of the transfer", with(&[("transfer-encoding", "chunked")])),
        ("te beyond trailers", with(&[("te", "gzip")])),
        ("a second path", with(&[(":path", "/")])),
        ("a pseudo header of an answer", with(&[(":status", "200")])),
        ("no path", head("GET", "", &[])),
        ("a length that is not kept", with(&[("content-length", "5")])),
    ] {
        let mut raw = RawHttp2::to(gateway.address(), &[]);
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        let told = std::iter::from_fn(|| raw.next()).find(|frame| matches!(frame.kind, RST_STREAM | GOAWAY | HEADERS));
        let code = told.filter(|frame| frame.kind != HEADERS).map(|frame| frame.code());
        assert_eq!(code, Some(PROTOCOL_ERROR), "{what}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

/// RFC 9113 8.3.1: `:authority` is the host, and where there is none, Host is.
#[test]
fn a_request_names_one_host_in_one_of_two_ways() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    let mut status = |stream, fields: &[(&str, &str)]| {
        let rest = block(&[&[(":method", "GET"), (":scheme", "http"), (":path", "/")], fields].concat());
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, rest));
        raw.next_of(HEADERS).expect("an answer").payload[0]
    };
    let (ok, bad_request) = (0x88, 0x8c);
    assert_eq!(status(1, &[(":authority", "a")]), ok);
    assert_eq!(status(3, &[("host", "a")]), ok);
    assert_eq!(status(5, &[(":authority", "a"), ("host", "a")]), ok);
    assert_eq!(status(7, &[]), bad_request);
    assert_eq!(status(9, &[(":authority", "a"), ("host", "b")]), bad_request);
    assert_eq!(status(11, &[("host", "a"), ("host", "a")]), bad_request);
    assert_eq!(status(13, &[(":authority", "user@a")]), bad_request);
    assert_eq!(status(15, &[("host", "a b")]), bad_request);
    assert!(upstream.requests().iter().all(|seen| seen.headers.all("host") == ["a"]));
}

#[test]
fn a_preface_that_goes_wrong_is_not_answered_as_http1() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"INVALID CONNECTION PREFACE\r\n\r\n",
    ] {
        let mut raw = RawHttp2::silent(gateway.address());
        raw.send(bytes);
        let answer = raw.bytes();
        assert!(!answer.windows(5).any(|text| text == b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Before a proxy that shares its connections it would take other clients' requests with it.
#[test]
fn a_connection_that_began_with_http1_does_not_change() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/")).status, 200);
    connection.send(PREFACE);
    connection.send(frame(SETTINGS, 0, 0, []));
    connection.end();
    assert_eq!(upstream.requests().len(), 1);
}

/// No 100 comes, which a client that speaks HTTP/2 waits for in vain but not for long (RFC 9110 10.1.1).
#[test]
fn an_upload_that_waits_to_be_asked_for_is_taken_when_it_comes() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS, 1, head("POST", "/", &[("expect", "100-continue"), ("content-length", "3")])));
    eventually("it has arrived", || gateway.metric("gateway_requests_in_flight") == 1);
    raw.send(frame(DATA, END_STREAM, 1, b"abc"));
    assert_eq!(raw.next_of(DATA).expect("an answer").payload, b"ok");
    let seen = upstream.request();
    assert!(seen.complete && seen.body == b"abc" && seen.headers.all("expect").is_empty(), "{seen:?}");
}

#[test]
fn early_hints_are_left_out_whole() {
    let upstream =
        Upstream::saying("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = open_with(&upstream, "");
    let answer = Http2::to(gateway.address()).ask(empty(get("/")));
    assert!(answer.status == 200 && answer.body == "ok" && !answer.headers.contains_key("link"), "{answer:?}");
}
