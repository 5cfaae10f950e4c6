//! Bodies and tunnels over TLS: whole where they were whole, never completed where they were cut, and let go where nobody reads.

use std::net::TcpStream;

use super::{Place, TLS};
use crate::support::{Gate, Request, Upstream, eventually};

#[test]
fn the_end_of_an_answer_is_said_and_one_that_is_cut_can_be_told() {
    let upstream = Upstream::start(|exchange| {
        let chunked = if exchange.seen.target == "/cut" { "Transfer-Encoding: chunked\r\n" } else { "" };
        exchange.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{chunked}\r\n3\r\nabc\r\n"));
        exchange.close();
    });
    let place = Place::start(&upstream, "");
    // To HTTP/1.0 a body of unknown length ends with its connection.
    let ask = |path: &str| {
        let mut connection = place.connect();
        connection.send(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n")).expect("it is taken");
        connection.rest()
    };
    assert!(ask("/whole").expect("its end is said").ends_with("\r\n\r\n3\r\nabc\r\n"));
    assert!(ask("/cut").is_err());
}

#[test]
fn an_upload_that_is_cut_is_never_completed() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "");
    let mut connection = place.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").expect("it is taken");
    eventually("it has begun", || upstream.requests().len() == 1);
    // The socket is closed, and the end of the session was not said.
    drop(connection);
    eventually("it is given up", || place.gateway.metric("gateway_requests_in_flight") == 0);
    assert!(!upstream.request().complete);
}

#[test]
fn large_bodies_go_both_ways_unchanged() {
    let upstream = Upstream::start(|exchange| {
        let body = exchange.body();
        exchange.answer(200, &[], body);
    });
    let place = Place::start(&upstream, "");
    let body: String = (0..2_000_000).map(|number: u32| char::from(b'a' + (number % 23) as u8)).collect();
    let mut connection = place.connect();
    connection.send(Request::post("/", &body).bytes()).expect("it is taken");
    assert!(connection.answer().1 == body);
}

#[test]
fn a_websocket_passes_in_both_directions() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        while let Ok(bytes) = exchange.wire().exactly(4) {
            exchange.send([b"<", bytes.as_slice(), b">"].concat());
        }
        exchange.close();
    });
    let place = Place::start(&upstream, "");
    let mut connection = place.connect();
    let upgrade = Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    // The first word does not wait for the switch.
    connection.send([upgrade.bytes(), b"ping".to_vec()].concat()).expect("it is taken");
    assert!(connection.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(connection.exactly(11), b"hello<ping>");
    connection.send("pong").expect("it is taken");
    assert_eq!(connection.exactly(6), b"<pong>");
    connection.finish();
    assert_eq!(connection.rest().expect("its end is said"), "");
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], vec![b'x'; 64 << 20]));
    let place = Place::start(&upstream, "server.write_timeout = \"300ms\"");
    let mut connection = place.connect();
    connection.send(Request::get("/").bytes()).expect("it is taken");
    eventually("the request is under way", || place.gateway.metric("gateway_requests_in_flight") == 1);
    eventually("the request is given up", || place.gateway.metric("gateway_requests_in_flight") == 0);
    assert!(connection.rest().is_err());
}

/// An answer that fits into the session's own buffer is not taken for sent.
#[test]
fn a_client_that_does_not_read_a_small_answer_is_let_go() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], vec![b'x'; 48 << 10]));
    let place = Place::start(&upstream, "server.write_timeout = \"300ms\"\nserver.idle_timeout = \"1h\"");
    let mut connection = place.connect();
    // As many answers as no socket buffer takes.
    let requests = Request::get("/").bytes().repeat(400);
    connection.send(requests).expect("it is taken");
    eventually("it is let go", || {
        place.gateway.metrics().iter().filter(|(name, _)| name.starts_with("gateway_connections")).all(|(_, &open)| open == 0)
    });
    assert!(connection.rest().is_err());
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::ok();
    let place = Place::start_with(&upstream, TLS, |_, _| {});
    let mut connection = place.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n").expect("it is taken");
    let piece = vec![b'x'; 64 << 10];
    // It may be refused to at some point.
    for _ in 0..40 {
        if connection.send(&piece).is_err() {
            break;
        }
    }
    assert!(connection.answer().0.starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_drain_completes_downloads_and_waits_for_no_idle_connection() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| exchange.half_and_half(&gate)
    });
    let mut place = Place::start(&upstream, "server.drain_timeout = \"1h\"\nserver.handshake_timeout = \"1h\"");
    let mut download = place.connect();
    download.send(Request::get("/").bytes()).expect("it is taken");
    assert!(download.head().starts_with("HTTP/1.1 200 "));
    let mut idle = place.connect();
    let _silent = TcpStream::connect(place.gateway.tls_address()).expect("it listens");
    place.gateway.terminate();
    eventually("readiness is off", || place.gateway.ask_admin("/readyz").status == 503);
    gate.open();
    assert_eq!(download.exactly(8), b"halffull");
    assert!(place.gateway.wait().success());
    assert_eq!(idle.rest().expect("its end is said"), "");
}
