//! Nothing may last for ever and nothing may be as large as it likes.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::wire::End;
use crate::support::{Gate, Gateway, Request, Upstream, eventually};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// Longer than every deadline these tests set.
const OVERDUE: Duration = Duration::from_millis(600);

fn open_with(upstream: &Upstream, own: &str) -> Gateway {
    Gateway::start(upstream.address(), &format!("{own}\n{OPEN}"))
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_given_up() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.header_timeout = \"300ms\"");
    let mut connection = gateway.connect();
    connection.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    connection.response().expect(408, "request_timeout");
    assert_eq!(connection.end(), End::Closed);
}

/// The deadline is for the whole head: one more byte now and then does not prolong it.
#[test]
fn a_head_that_drips_is_given_up_too() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.header_timeout = \"300ms\"");
    let mut connection = gateway.connect();
    connection.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    for _ in 0..12 {
        thread::sleep(OVERDUE / 12);
        // The gateway may have gone already.
        let _ = connection.try_send("x");
    }
    let (rest, _) = connection.wire().end();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.handshake_timeout = \"300ms\"");
    let (rest, end) = gateway.connect().wire().end();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(end, End::Closed);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.idle_timeout = \"300ms\"");
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/")).status, 200);
    assert_eq!(connection.end(), End::Closed);
}

#[test]
fn an_upload_that_stalls_is_given_up() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.body_timeout = \"300ms\"");
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    connection.response().expect(408, "request_timeout");
    assert_eq!(connection.end(), End::Closed);
    assert!(upstream.requests().iter().all(|seen| !seen.complete));
}

#[test]
fn an_upload_that_goes_on_slowly_is_not() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.body_timeout = \"300ms\"");
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n");
    for byte in ["a", "b", "c", "d", "e", "f"] {
        connection.send(byte);
        thread::sleep(OVERDUE / 6);
    }
    assert_eq!(connection.response().status, 200);
    assert_eq!(upstream.request().body, b"abcdef");
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_given_up() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |_| gate.wait()
    });
    let own = r#"upstreams = [{ name = "app", servers = ["http://{app}"], response_timeout = "300ms" }]"#;
    let gateway = open_with(&upstream, own);
    gateway.ask(&Request::get("/")).expect(504, "upstream_timeout");
    gateway.ask(&Request::post("/", "x")).expect(504, "upstream_timeout");
    gate.open();
}

/// A full accept queue: the kernel answers no more connection attempts.
#[test]
fn an_upstream_that_does_not_accept_in_time_is_given_up() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    listener.listen(0).expect("it can listen");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("a bound socket has an address");
    let filling: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(50))).collect();
    assert!(filling.iter().any(Result::is_err), "the queue is full");
    let own = r#"upstreams = [{ name = "app", servers = ["http://{app}"], connect_timeout = "300ms" }]"#;
    let gateway = Gateway::start(address, &format!("{own}\n{OPEN}"));
    let status = gateway.ask(&Request::get("/")).status;
    assert!([502, 504].contains(&status), "{status}");
}

#[test]
fn a_download_that_stalls_is_cut() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
            gate.wait();
        }
    });
    let own = r#"upstreams = [{ name = "app", servers = ["http://{app}"], body_timeout = "300ms" }]"#;
    let gateway = open_with(&upstream, own);
    let response = gateway.ask(&Request::get("/"));
    assert_eq!((response.status, response.text().as_str(), response.complete), (200, "abc", false));
    gate.open();
}

#[test]
fn an_event_stream_may_pause_longer_than_other_bodies() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("data: 1\n\n");
        thread::sleep(OVERDUE);
        exchange.chunk("data: 2\n\n");
        exchange.send("0\r\n\r\n");
    });
    let own = r#"upstreams = [{ name = "app", servers = ["http://{app}"], body_timeout = "200ms" }]"#;
    let patient = open_with(&upstream, own);
    assert_eq!(patient.ask(&Request::get("/")).text(), "data: 1\n\ndata: 2\n\n");
    let strict = open_with(&upstream, "server.stream_idle_timeout = \"200ms\"");
    let response = strict.ask(&Request::get("/"));
    assert_eq!((response.text().as_str(), response.complete), ("data: 1\n\n", false));
}

/// Such a stream may say nothing for a long time, from its head on, whatever it was asked by.
#[test]
fn a_silent_event_stream_outlasts_every_other_timeout() {
    let upstream = Upstream::start(|exchange| {
        exchange.body();
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
        thread::sleep(OVERDUE);
        exchange.chunk("data: 1\n\n");
        exchange.send("0\r\n\r\n");
    });
    let own = r#"
        server = { body_timeout = "200ms", idle_timeout = "200ms", header_timeout = "200ms", write_timeout = "200ms" }
        upstreams = [{ name = "app", servers = ["http://{app}"], response_timeout = "200ms", body_timeout = "200ms" }]
    "#;
    let gateway = open_with(&upstream, own);
    for request in [Request::get("/"), Request::post("/", "{}")] {
        let response = gateway.ask(&request);
        assert_eq!((response.text().as_str(), response.complete), ("data: 1\n\n", true), "{request:?}");
    }
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], vec![b'x'; 64 << 20]));
    let gateway = open_with(&upstream, "server.write_timeout = \"300ms\"");
    let mut connection = gateway.connect();
    connection.send(Request::get("/").bytes());
    eventually("the request is under way", || gateway.metric("gateway_requests_in_flight") == 1);
    eventually("the request is given up", || gateway.metric("gateway_requests_in_flight") == 0);
    assert!(!connection.response().complete);
}

#[test]
fn a_client_that_leaves_frees_the_upstream() {
    let left = Gate::default();
    let upstream = Upstream::that_is_left(&left);
    let gateway = open_with(&upstream, "");
    let mut connection = gateway.connect();
    connection.send(Request::get("/").bytes());
    assert_eq!(connection.head().0, 200);
    drop(connection);
    left.wait();
    eventually("the request is over", || gateway.metric("gateway_requests_in_flight") == 0);
}

#[test]
fn a_client_that_leaves_before_anything_was_answered_frees_the_upstream() {
    let left = Gate::default();
    let opened = left.clone();
    let upstream = Upstream::start(move |exchange| {
        exchange.wire().end();
        opened.open();
    });
    let gateway = open_with(&upstream, "");
    let mut connection = gateway.connect();
    connection.send(Request::get("/").bytes());
    eventually("the request is under way", || gateway.metric("gateway_requests_in_flight") == 1);
    drop(connection);
    left.wait();
    eventually("it is said to have left", || gateway.log().contains("\"status\":499"));
}

#[test]
fn a_uri_has_a_longest_length() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    assert_eq!(gateway.ask(&Request::get(&format!("/{}", "x".repeat(8000)))).status, 200);
    assert_eq!(gateway.ask(&Request::get(&format!("/?{}", "x".repeat(16_000)))).status, 200);
    gateway.ask(&Request::get(&format!("/{}", "x".repeat(17_000)))).expect(414, "uri_too_long");
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_head_has_a_largest_size_and_count() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    let many = |count: usize| (0..count).fold(Request::get("/"), |request, number| request.header(&format!("X-{number}"), "x"));
    assert_eq!(gateway.ask(&Request::get("/").header("X-Big", &"x".repeat(20_000))).status, 200);
    assert_eq!(gateway.ask(&many(90)).status, 200);
    gateway.ask(&Request::get("/").header("X-Big", &"x".repeat(40_000))).expect(431, "header_too_large");
    gateway.ask(&Request::get("/").header("X-Big", &"x".repeat(500_000))).expect(431, "header_too_large");
    gateway.ask(&many(110)).expect(431, "header_too_large");
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_body_has_a_largest_size_whatever_its_framing() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.max_body_bytes = \"1KiB\"");
    assert_eq!(gateway.ask(&Request::post("/", vec![b'x'; 1024])).status, 200);
    gateway.ask(&Request::post("/", vec![b'x'; 1025])).expect(413, "body_too_large");
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n200\r\n");
    connection.send([b'x'; 512]);
    connection.send("\r\n201\r\n");
    connection.send([b'x'; 513]);
    connection.send("\r\n0\r\n\r\n");
    connection.response().expect(413, "body_too_large");
    assert_eq!(upstream.requests().iter().filter(|seen| seen.complete).count(), 1);
}

#[test]
fn trailers_and_chunk_extensions_are_bounded() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "");
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(200_000));
    let trailers = format!("1\r\nx\r\n0\r\nX-Big: {}\r\n\r\n", "x".repeat(200_000));
    for chunks in [extension, trailers] {
        let mut connection = gateway.connect();
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let _ = connection.try_send(chunks);
        let status = connection.response().status;
        assert!([400, 413, 431].contains(&status), "{status}");
    }
    assert!(upstream.requests().iter().all(|seen| !seen.complete));
}

#[test]
fn no_more_connections_are_served_than_allowed() {
    let upstream = Upstream::ok();
    let gateway = open_with(&upstream, "server.max_connections = 2");
    let mut served = [(); 2].map(|()| gateway.connect());
    for connection in &mut served {
        assert_eq!(connection.ask(&Request::get("/")).status, 200);
    }
    let mut waiting = gateway.connect();
    // Whether it is left waiting or closed is the gateway's choice.
    let _ = waiting.try_send(Request::get("/one-too-many").bytes());
    thread::sleep(OVERDUE / 2);
    assert_eq!(upstream.requests().len(), 2);
    drop(served);
    drop(waiting);
    eventually("there is room again", || {
        gateway.connect().wire().send(Request::get("/again").bytes()).is_ok() && upstream.requests().len() > 2
    });
}
