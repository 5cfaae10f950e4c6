//! An orderly end fails nobody who was being served.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::wire::Framing;
use crate::support::{Connection, Gate, Gateway, Request, Upstream, eventually};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// Begins a download that goes on once the gate is opened.
fn half_a_download(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |exchange| match exchange.seen.target.as_str() {
        "/download" => exchange.half_and_half(&gate),
        _ => exchange.answer(200, &[], "ok"),
    })
}

#[test]
fn a_download_in_flight_is_completed_while_readiness_is_off() {
    let gate = Gate::default();
    let upstream = half_a_download(&gate);
    let mut gateway = Gateway::start(upstream.address(), OPEN);
    assert_eq!(gateway.ask_admin("/readyz").status, 200);
    let mut download = gateway.connect();
    download.send(Request::get("/download").bytes());
    let (_, head) = download.head();
    gateway.terminate();
    eventually("readiness is off", || gateway.ask_admin("/readyz").status == 503);
    assert_eq!(gateway.ask_admin("/healthz").status, 200);
    gate.open();
    let body = download.wire().body(head.framing(Framing::None));
    assert_eq!((body.bytes.as_slice(), body.complete), (b"halffull".as_slice(), true));
    assert!(gateway.wait().success());
}

#[test]
fn what_does_not_end_is_cut_after_the_drain_timeout() {
    let gate = Gate::default();
    let upstream = half_a_download(&gate);
    let mut gateway = Gateway::start(upstream.address(), &format!("server.drain_timeout = \"300ms\"\n{OPEN}"));
    let mut download = gateway.connect();
    download.send(Request::get("/download").bytes());
    let (_, head) = download.head();
    gateway.terminate();
    assert!(gateway.wait().success());
    assert!(!download.wire().body(head.framing(Framing::None)).complete);
    gate.open();
}

#[test]
fn under_load_no_request_fails() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), OPEN);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6).map(|_| scope.spawn(|| ask_until_told_to_close(&gateway, &answered))).collect();
        eventually("there is load", || answered.load(Ordering::Relaxed) > 300);
        gateway.terminate();
        for client in clients {
            client.join().expect("no request failed");
        }
    });
    assert!(gateway.wait().success());
}

/// Each request on a connection must be answered, up to the answer that says the connection is closed.
fn ask_until_told_to_close(gateway: &Gateway, answered: &AtomicUsize) {
    let mut connection = gateway.connect();
    loop {
        let response = connection.ask(&Request::get("/"));
        assert_eq!((response.status, response.text().as_str(), response.complete), (200, "ok", true));
        answered.fetch_add(1, Ordering::Relaxed);
        if response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return;
        }
    }
}

#[test]
fn an_idle_connection_is_told_of_the_end_with_its_next_answer() {
    let gate = Gate::default();
    let upstream = half_a_download(&gate);
    let mut gateway = Gateway::start(upstream.address(), OPEN);
    let mut idle = gateway.connect();
    assert_eq!(idle.ask(&Request::get("/")).status, 200);
    // Holds the end back, so that there is something to ask.
    let mut download = gateway.connect();
    download.send(Request::get("/download").bytes());
    download.head();
    gateway.terminate();
    eventually("nobody listens any more", || TcpStream::connect(gateway.address()).is_err());
    let last = idle.ask(&Request::get("/"));
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    gate.open();
    assert!(gateway.wait().success());
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), &format!("server.drain_timeout = \"1h\"\n{OPEN}"));
    let mut idle = gateway.connect();
    assert_eq!(idle.ask(&Request::get("/")).status, 200);
    let mut silent = gateway.connect();
    gateway.terminate();
    assert!(gateway.wait().success());
    idle.end();
    silent.end();
}

#[test]
fn new_connections_are_served_during_the_drain_delay_and_refused_after() {
    let gate = Gate::default();
    let upstream = half_a_download(&gate);
    let mut gateway = Gateway::start(upstream.address(), &format!("server.drain_delay = \"1s\"\n{OPEN}"));
    let mut download = gateway.connect();
    download.send(Request::get("/download").bytes());
    download.head();
    gateway.terminate();
    eventually("readiness is off", || gateway.ask_admin("/readyz").status == 503);
    assert_eq!(Connection::to(gateway.address()).ask(&Request::get("/")).status, 200);
    eventually("nobody listens any more", || TcpStream::connect(gateway.address()).is_err());
    gate.open();
    assert!(gateway.wait().success());
}

#[test]
fn a_tunnel_is_cut_after_the_drain_timeout() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        exchange.wire().end();
        exchange.close();
    });
    let mut gateway = Gateway::start(upstream.address(), &format!("server.drain_timeout = \"300ms\"\n{OPEN}"));
    let mut tunnel = gateway.connect();
    tunnel.send(Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket").bytes());
    assert_eq!(tunnel.head().0, 101);
    gateway.terminate();
    assert!(gateway.wait().success());
    tunnel.end();
}

#[test]
fn an_interrupt_ends_it_like_a_termination() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), OPEN);
    crate::support::gateway::signal("INT", gateway.process_id());
    assert!(gateway.wait().success());
}
