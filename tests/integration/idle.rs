//! A connection without a request comes to rest: it gives up its buffers, and is as good as before when it is used again.

use std::fs;
use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;

use crate::support::tls::{Authority, TlsConnection};
use crate::support::wire::End;
use crate::support::{Connection, Gateway, Request, Upstream, eventually};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// Longer than a connection takes to come to rest.
const A_WHILE: Duration = Duration::from_millis(1500);

fn used_connection(gateway: &Gateway) -> Connection {
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/")).status, 200);
    connection
}

/// KiB that the process holds.
fn resident(gateway: &Gateway) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process_id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// With its buffers a connection holds more than 20 KiB. `benches/idle` has the exact figure; this bound leaves room for what the
/// allocator keeps.
#[test]
fn connections_at_rest_hold_little_memory_and_answer_again() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), OPEN);
    // What is given up is given back at once, so that it shows.
    gateway.set_environment("MIMALLOC_PURGE_DELAY", "0");
    gateway.run();
    for _ in 0..100 {
        used_connection(&gateway);
    }
    let before = resident(&gateway);
    let mut connections: Vec<_> = (0..2000).map(|_| used_connection(&gateway)).collect();
    eventually("2000 connections hold at most 10 KiB each", || resident(&gateway) < before + 2000 * 10);
    for connection in &mut connections {
        assert_eq!(connection.ask(&Request::get("/")).status, 200);
    }
}

#[test]
fn a_connection_at_rest_takes_a_request_that_comes_in_pieces() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = used_connection(&gateway);
    for _ in 0..2 {
        thread::sleep(A_WHILE);
        connection.send("GET / HTTP/1.1\r\nHo");
        thread::sleep(Duration::from_millis(20));
        connection.send("st: gateway.test\r\n\r\n");
        assert_eq!(connection.response().status, 200);
    }
}

/// What has come of the next head when the connection comes to rest is not lost, and has the time of a head, not of an idle connection.
#[test]
fn a_head_that_began_behind_a_request_is_kept_and_bounded() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), &format!("server.header_timeout = \"2s\"\n{OPEN}"));
    let mut connection = gateway.connect();
    let first = Request::get("/").bytes();
    connection.send([&first[..], b"GET / HTTP/1.1\r\nHo"].concat());
    assert_eq!(connection.response().status, 200);
    thread::sleep(A_WHILE);
    connection.send("st: gateway.test\r\n\r\n");
    assert_eq!(connection.response().status, 200);
    connection.send([&first[..], b"GET / HTTP/1.1\r\nHo"].concat());
    assert_eq!(connection.response().status, 200);
    connection.response().expect(408, "request_timeout");
}

#[test]
fn a_connection_at_rest_is_closed_at_its_idle_timeout() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), &format!("server.idle_timeout = \"2s\"\n{OPEN}"));
    let mut connection = used_connection(&gateway);
    let answered = clock::monotonic();
    assert_eq!(connection.end(), End::Closed);
    let idle = clock::monotonic().duration_since(answered);
    assert!((Duration::from_millis(1900)..Duration::from_secs(4)).contains(&idle), "{idle:?}");
}

#[test]
fn connections_at_rest_do_not_hold_up_the_end() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), &format!("server.drain_timeout = \"1h\"\n{OPEN}"));
    let (mut silent, mut asking) = (used_connection(&gateway), used_connection(&gateway));
    thread::sleep(A_WHILE);
    gateway.terminate();
    let last = asking.ask(&Request::get("/"));
    assert_eq!(last.status, 200);
    assert!(gateway.wait().success());
    silent.end();
}

#[test]
fn a_connection_at_rest_is_as_good_over_tls() {
    let (upstream, authority) = (Upstream::ok(), Authority::new());
    let tls = "server.tls = { listen = [\"127.0.0.1:0\"], certificate = \"cert.pem\", private_key = \"cert-key.pem\" }";
    let mut gateway = Gateway::stopped(upstream.address(), &format!("{tls}\nserver.idle_timeout = \"3s\"\n{OPEN}"));
    authority.make(&["gateway.test"]).write(gateway.folder(), "cert");
    gateway.run();
    let mut connection = TlsConnection::to(gateway.tls_address(), "gateway.test", authority.client()).expect("a handshake");
    for _ in 0..2 {
        connection.send(Request::get("/").bytes()).expect("it is taken");
        assert_eq!(connection.answer().1, "ok");
        thread::sleep(A_WHILE);
    }
    assert_eq!(connection.rest().expect("its end is said"), "");
}
