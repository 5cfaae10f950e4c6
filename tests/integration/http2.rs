//! HTTP/2 from clients: what holds over HTTP/1.1 holds for each stream, and no frame does harm.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http_body_util::Full;

use crate::support::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, PING, PREFACE, RST_STREAM, RawHttp2, SETTINGS,
    WINDOW_UPDATE, empty, frame, get, head,
};
use crate::support::tls::{Authority, TlsConnection};
use crate::support::{Gate, Gateway, Request, Upstream, eventually};

const PROTOCOL_ERROR: u32 = 1;

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
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/", &[]));
    connection.send([PREFACE, &frame(SETTINGS, 0, 0, &[]), &request].concat()).expect("it is taken");
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
fn each_stream_has_its_own_deadlines_and_the_others_go_on() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| match exchange.seen.target.as_str() {
            "/silent" => gate.wait(),
            "/stalls" => {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
                gate.wait();
            }
            "/breaks" => {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
                exchange.close();
            }
            _ => {
                thread::sleep(Duration::from_millis(600));
                gate.open();
                exchange.answer(200, &[], "ok");
            }
        }
    });
    let own = r#"upstreams = [{ name = "app", servers = ["http://{app}"], response_timeout = "300ms", body_timeout = "300ms" }]
        routes = [{ path = "/", upstream = "app", auth = "none" },
                  { path = "/slow", upstream = "app", auth = "none", timeouts = { response = "10s" } }]"#;
    let gateway = Gateway::start(upstream.address(), own);
    let paths = ["/silent", "/stalls", "/breaks", "/slow"];
    let answers = Http2::to(gateway.address()).ask_all(paths.map(|path| empty(get(path))).into());
    let [silent, stalls, breaks, slow] = answers.try_into().expect("four answers");
    assert_eq!(silent.expect("an answer").status, 504);
    assert!(stalls.is_err() && breaks.is_err(), "they look whole");
    assert_eq!(slow.expect("an answer").body, "ok");
}

#[test]
fn a_stream_that_its_client_resets_frees_the_upstream() {
    let left = Gate::default();
    let upstream = Upstream::that_is_left(&left);
    let gateway = open_with(&upstream, "");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/", &[])));
    raw.next_of(DATA).expect("the answer begins");
    raw.send(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    eventually("it is over", || gateway.metric("gateway_requests_in_flight") == 0);
    left.wait();
    eventually("it is logged", || gateway.log().contains("\"status\":499"));
    raw.send(frame(PING, 0, 0, b"12345678"));
    assert_eq!(raw.next_of(PING).expect("the connection goes on").payload, b"12345678");
}

#[test]
fn a_stream_that_is_not_taken_is_reset_and_the_others_go_on() {
    let upstream = Upstream::start(|exchange| {
        let size = if exchange.seen.target == "/large" { 1 << 20 } else { 1 };
        exchange.answer(200, &[], vec![b'x'; size]);
    });
    let gateway = open_with(&upstream, "server.write_timeout = \"300ms\"");
    // A window of 100 bytes for each stream.
    let mut raw = RawHttp2::to(gateway.address(), &[0, 4, 0, 0, 0, 100]);
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/large", &[])));
    let reset = raw.next_of(RST_STREAM).expect("it is reset");
    assert_eq!(reset.stream, 1);
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, &head("GET", "/", &[])));
    assert_eq!(raw.next_of(DATA).expect("an answer").stream, 3);
}

#[test]
fn a_stream_that_is_taken_slowly_is_not() {
    const SIZE: usize = 256 << 10;
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], vec![b'x'; SIZE]));
    let gateway = open_with(&upstream, "server.write_timeout = \"500ms\"");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    // The first 64 KiB, which every window has, and the rest piece by piece.
    let more = (16_u32 << 10).to_be_bytes();
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/", &[])));
    for _ in 0..SIZE / (16 << 10) {
        thread::sleep(Duration::from_millis(150));
        raw.send([frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, 1, &more)].concat());
    }
    let mut taken = 0;
    while taken < SIZE {
        let frame = raw.next().expect("the answer goes on");
        assert_ne!(frame.kind, RST_STREAM);
        taken += if frame.kind == DATA { frame.payload.len() } else { 0 };
    }
}

/// No 100 comes, which a client that speaks HTTP/2 waits for in vain but not for long (RFC 9110 10.1.1).
#[test]
fn an_upload_that_waits_to_be_asked_for_is_taken_when_it_comes() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[("expect", "100-continue"), ("content-length", "3")])));
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

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let gateway = Gateway::start(Upstream::nowhere(), "");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
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
fn an_upload_that_stalls_is_given_up() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.body_timeout = \"300ms\"");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[])));
    raw.send(frame(DATA, 0, 1, b"abc"));
    raw.next_of(HEADERS).expect("an answer");
    eventually("it is logged", || gateway.log().contains("\"status\":408"));
    assert!(upstream.requests().iter().all(|seen| !seen.complete));
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
    let settings = frame(SETTINGS, 0, 0, &[]);
    let half_a_head = frame(HEADERS, END_STREAM, 1, &head("GET", "/", &[]));
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
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/", &[])));
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
    let ask = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/", &[]));
    let post = frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[]));
    let resets = (0..3000).flat_map(|count| [ask(2 * count + 1), frame(RST_STREAM, 0, 2 * count + 1, &[0, 0, 0, 8])].concat());
    let floods = [
        ("pings", frame(PING, 0, 0, b"12345678").repeat(5000)),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(5000)),
        ("empty data", [post.clone(), frame(DATA, 0, 1, &[]).repeat(5000)].concat()),
        ("priorities", frame(2, 0, 1, &[0, 0, 0, 3, 1]).repeat(5000)),
        ("unknown frames", frame(200, 0, 0, b"x").repeat(5000)),
        ("continuations", [frame(HEADERS, 0, 1, &head("GET", "/", &[])), frame(CONTINUATION, 0, 1, &[]).repeat(5000)].concat()),
        (
            "large continuations",
            [frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, 0, 1, &head("GET", "/", &[]).repeat(100)).repeat(500)].concat(),
        ),
        ("resets", resets.collect()),
    ];
    for (what, bytes) in floods {
        let mut raw = RawHttp2::to(gateway.address(), &[]);
        raw.send(bytes);
        raw.rest();
        assert_eq!(Http2::to(gateway.address()).ask(empty(get("/"))).status, 200, "{what}");
    }
    eventually("nothing is left", || gateway.metric("gateway_requests_in_flight") == 0);
}

/// What RFC 9113 has a peer answer by an error of the connection. A more general code than the one it names is in order (5.4.1).
#[test]
fn what_breaks_the_protocol_ends_the_connection_with_a_word() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    let ask = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/", &[]));
    let window = 0x7fff_ffff_u32.to_be_bytes();
    for (what, bytes) in [
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("data on an idle stream", frame(DATA, 0, 1, b"x")),
        ("an even stream", ask(2)),
        ("a stream below an earlier one", [ask(5), ask(3)].concat()),
        ("a head on stream 0", ask(0)),
        ("a frame that is too large", frame(DATA, 0, 1, &vec![0; 16_385])),
        ("a ping that is too short", frame(PING, 0, 0, b"1234567")),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("settings of a wrong length", frame(SETTINGS, 0, 0, &[0, 3, 0])),
        ("an acknowledgement with content", frame(SETTINGS, 1, 0, &[0, 3, 0, 0, 0, 1])),
        ("a window beyond all bounds", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("windows that overflow", frame(WINDOW_UPDATE, 0, 0, &window).repeat(2)),
        ("a window update of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a reset of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("garbage for a head", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 10])),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &[])),
        ("another frame within a head", [frame(HEADERS, 0, 1, &head("GET", "/", &[])), frame(PING, 0, 0, b"12345678")].concat()),
        ("padding beyond the frame", frame(DATA, 8, 1, &[9, 0])),
        ("data after the end", [ask(1), frame(DATA, END_STREAM, 1, b"x")].concat()),
    ] {
        let mut raw = RawHttp2::to(gateway.address(), &[]);
        raw.send(bytes);
        let rest = raw.rest();
        let told: Vec<u32> = rest.iter().filter(|frame| matches!(frame.kind, GOAWAY | RST_STREAM)).map(Frame::code).collect();
        assert!(told.iter().any(|&code| code != 0), "{what}: {told:?}");
    }
    assert_eq!(Http2::to(gateway.address()).ask(empty(get("/"))).status, 200);
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

#[test]
fn a_preface_that_goes_wrong_is_not_answered_as_http1() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
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
    connection.send(frame(SETTINGS, 0, 0, &[]));
    connection.end();
    assert_eq!(upstream.requests().len(), 1);
}
