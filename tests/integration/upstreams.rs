//! An upstream of several servers: who gets the next request, and who gets none for now.

use std::thread;

use crate::support::{Gate, Gateway, Request, Upstream};

/// Before these servers, with `keys` of the upstream.
fn gateway(servers: &[&Upstream], keys: &str) -> Gateway {
    let urls: Vec<_> = servers.iter().map(|server| format!("\"http://{}\"", server.address())).collect();
    let own = format!(
        "upstreams = [{{ name = \"app\", servers = [{}], {keys} }}]\n\
         routes = [{{ path = \"/\", upstream = \"app\", auth = \"none\" }}]",
        urls.join(", ")
    );
    Gateway::start(servers[0].address(), &own)
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
        crate::support::eventually("the slow one is under way", || servers.iter().any(|server| !server.requests().is_empty()));
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
