//! An upstream of several servers: who gets the next request, and who gets none for now.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use crate::support::{Gate, Gateway, Request, Upstream, eventually};

/// Before these servers, with `keys` of the upstream.
fn gateway(servers: &[&Upstream], keys: &str) -> Gateway {
    gateway_at(&servers.iter().map(|server| server.address()).collect::<Vec<_>>(), keys)
}

fn gateway_at(servers: &[SocketAddr], keys: &str) -> Gateway {
    let urls: Vec<_> = servers.iter().map(|server| format!("\"http://{server}\"")).collect();
    let own = format!(
        "upstreams = [{{ name = \"app\", servers = [{}], {keys} }}]\n\
         routes = [{{ path = \"/\", upstream = \"app\", auth = \"none\" }}]",
        urls.join(", ")
    );
    Gateway::start(servers[0], &own)
}

/// Answers `/slow` only once the gate is open.
fn gated(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |exchange| {
        if exchange.seen.target == "/slow" {
            gate.wait();
        }
        exchange.answer(200, &[], "ok");
    })
}

#[test]
fn servers_are_taken_in_turn() {
    for balance in ["round-robin", "least-connections"] {
        let servers = [Upstream::ok(), Upstream::ok(), Upstream::ok()];
        let gateway = gateway(&servers.each_ref(), &format!("balance = \"{balance}\""));
        for _ in 0..30 {
            assert_eq!(gateway.ask(&Request::get("/")).status, 200);
        }
        assert_eq!(servers.each_ref().map(|server| server.requests().len()), [10, 10, 10], "{balance}");
    }
}

#[test]
fn a_server_that_is_busy_gets_no_more_while_another_has_less_to_do() {
    let gate = Gate::default();
    let servers = [gated(&gate), gated(&gate)];
    let gateway = gateway(&servers.each_ref(), "balance = \"least-connections\"");
    thread::scope(|scope| {
        let slow = scope.spawn(|| gateway.ask(&Request::get("/slow")).status);
        eventually("the slow one is under way", || servers.iter().any(|server| !server.requests().is_empty()));
        for _ in 0..10 {
            assert_eq!(gateway.ask(&Request::get("/fast")).status, 200);
        }
        gate.open();
        assert_eq!(slow.join().unwrap(), 200);
    });
    let mut served = servers.each_ref().map(|server| server.requests().len());
    served.sort_unstable();
    assert_eq!(served, [1, 10]);
}

/// Answers `/health` with what `status` says.
fn judged(status: &Arc<AtomicU16>) -> Upstream {
    let status = status.clone();
    Upstream::start(move |exchange| {
        let is_check = exchange.seen.target == "/health";
        exchange.answer(if is_check { status.load(Ordering::Relaxed) } else { 200 }, &[], "ok");
    })
}

fn healthy(gateway: &Gateway, address: SocketAddr) -> u64 {
    gateway.metric(&format!("gateway_upstream_healthy{{upstream=\"app\",server=\"{address}\"}}"))
}

/// Requests that are no checks.
fn served(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|seen| seen.target != "/health").count()
}

const CHECKED: &str = "health_check = { path = \"/health\", interval = \"20ms\" }";

#[test]
fn a_server_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let (good, bad) = (Arc::new(AtomicU16::new(204)), Arc::new(AtomicU16::new(500)));
    let servers = [judged(&good), judged(&bad)];
    let gateway = gateway(&servers.each_ref(), CHECKED);
    eventually("it is out", || healthy(&gateway, servers[1].address()) == 0);
    for _ in 0..10 {
        assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    }
    assert_eq!(servers.each_ref().map(served), [10, 0]);
    bad.store(302, Ordering::Relaxed);
    eventually("it is back", || healthy(&gateway, servers[1].address()) == 1);
    for _ in 0..10 {
        assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    }
    assert_eq!(servers.each_ref().map(served), [15, 5]);
    let log = gateway.log();
    assert_eq!(log.matches("an upstream server is left out").count(), 1, "said once");
    assert!(log.contains("500 Internal Server Error"), "with the reason");
    assert_eq!(log.matches("an upstream server is back").count(), 1);
}

#[test]
fn with_every_server_failing_its_checks_all_are_tried() {
    let bad = Arc::new(AtomicU16::new(503));
    let servers = [judged(&bad), judged(&bad)];
    let gateway = gateway(&servers.each_ref(), CHECKED);
    eventually("both are out", || servers.iter().all(|server| healthy(&gateway, server.address()) == 0));
    for _ in 0..10 {
        assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    }
    assert_eq!(servers.each_ref().map(served), [5, 5]);
}

#[test]
fn a_check_says_who_asks_and_stays_out_of_the_counts_of_requests() {
    let servers = [judged(&Arc::new(AtomicU16::new(200)))];
    let gateway = gateway(&servers.each_ref(), CHECKED);
    eventually("it was checked", || !servers[0].requests().is_empty());
    let seen = servers[0].requests().remove(0);
    assert_eq!(seen.method, "GET");
    assert_eq!(seen.headers.get("host"), Some(&*servers[0].address().to_string()));
    assert!(seen.headers.get("user-agent").is_some_and(|agent| agent.starts_with("hokusai-gateway/")));
    assert_eq!(gateway.metric("gateway_upstream_requests_total{upstream=\"app\",result=\"ok\"}"), 0);
}

#[test]
fn a_server_that_does_not_answer_its_check_in_time_is_out() {
    let gate = Gate::default();
    let silent = Upstream::start({
        let gate = gate.clone();
        move |exchange| {
            if exchange.seen.target == "/health" {
                gate.wait();
            }
            exchange.answer(200, &[], "ok");
        }
    });
    let own = "health_check = { path = \"/health\", interval = \"20ms\", timeout = \"50ms\" }";
    let gateway = gateway(&[&silent], own);
    eventually("it is out", || healthy(&gateway, silent.address()) == 0);
    assert_eq!(gateway.ask(&Request::get("/")).status, 200, "as the only one it is tried all the same");
    gate.open();
    eventually("it is back", || healthy(&gateway, silent.address()) == 1);
}

/// No request pays for finding out: the gateway itself asks again.
#[test]
fn a_server_that_refused_is_out_and_comes_back_by_itself() {
    let (steady, address) = (Upstream::ok(), Upstream::nowhere());
    let gateway = gateway_at(&[steady.address(), address], "balance = \"round-robin\"");
    for _ in 0..4 {
        assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    }
    assert_eq!(healthy(&gateway, address), 0);
    let late = Upstream::start_at(address, |exchange| exchange.answer(200, &[], "ok"));
    eventually("it is back", || healthy(&gateway, address) == 1);
    assert_eq!(late.requests().len(), 0, "without a request");
    for _ in 0..4 {
        assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    }
    assert_eq!(late.requests().len(), 2);
}

#[test]
fn with_every_server_refusing_the_first_that_is_there_again_is_found_at_once() {
    let addresses = [Upstream::nowhere(), Upstream::nowhere()];
    let gateway = gateway_at(&addresses, "");
    gateway.ask(&Request::get("/")).expect(502, "upstream_unreachable");
    assert_eq!(addresses.map(|address| healthy(&gateway, address)), [0, 0]);
    let _back = Upstream::start_at(addresses[1], |exchange| exchange.answer(200, &[], "ok"));
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    assert_eq!(healthy(&gateway, addresses[1]), 1);
}
