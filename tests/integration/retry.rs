//! What was surely not served is tried once more; what may have been served is not.

use crate::support::{Gateway, Request, Upstream};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// The first connection serves one request and dies upon the second, as when the upstream's idle timeout strikes just then.
fn dying() -> Upstream {
    Upstream::start(|exchange| match (exchange.seen.connection, exchange.number) {
        (1, 2) => exchange.close(),
        _ => exchange.answer(200, &[], "ok"),
    })
}

#[test]
fn a_get_that_meets_a_dying_connection_is_tried_on_a_fresh_one() {
    let upstream = dying();
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/first")).status, 200);
    assert_eq!(connection.ask(&Request::get("/second")).status, 200);
    let targets: Vec<_> = upstream.requests().into_iter().map(|seen| (seen.connection, seen.target)).collect();
    assert_eq!(targets, [(1, "/first".to_owned()), (1, "/second".to_owned()), (2, "/second".to_owned())]);
}

#[test]
fn a_post_is_never_sent_twice() {
    for body in ["", "body"] {
        let upstream = dying();
        let gateway = Gateway::start(upstream.address(), OPEN);
        let mut connection = gateway.connect();
        assert_eq!(connection.ask(&Request::get("/first")).status, 200);
        assert_eq!(connection.ask(&Request::post("/second", body)).status, 502);
        assert_eq!(upstream.requests().len(), 2);
    }
}

#[test]
fn once_more_means_once() {
    let upstream = Upstream::start(|exchange| match (exchange.seen.connection, exchange.number) {
        (1, 1) => exchange.answer(200, &[], "ok"),
        _ => exchange.close(),
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/first")).status, 200);
    assert_eq!(connection.ask(&Request::get("/second")).status, 502);
    assert_eq!(upstream.requests().len(), 3);
}

/// A fresh connection has no idle timeout to die of: the request itself may be what killed the upstream.
#[test]
fn a_request_that_fails_on_a_fresh_connection_is_not_repeated() {
    let upstream = Upstream::saying("");
    let gateway = Gateway::start(upstream.address(), OPEN);
    assert_eq!(gateway.ask(&Request::get("/")).status, 502);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_begun_answer_is_not_begun_again() {
    let upstream = Upstream::start(|exchange| {
        if exchange.number == 1 {
            return exchange.answer(200, &[], "ok");
        }
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        exchange.close();
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/first")).status, 200);
    assert!(!connection.ask(&Request::get("/second")).complete);
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn an_upstream_that_always_closes_is_no_trouble() {
    let upstream = Upstream::start(|exchange| {
        exchange.answer(200, &[], "ok");
        exchange.close();
    });
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    for _ in 0..50 {
        assert_eq!(connection.ask(&Request::get("/")).status, 200);
    }
}

#[test]
fn connection_close_is_heeded() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[("Connection", "close")], "ok"));
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    for _ in 0..5 {
        assert_eq!(connection.ask(&Request::post("/", "x")).status, 200);
    }
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn connections_are_kept_and_used_again() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut connection = gateway.connect();
    for _ in 0..50 {
        assert_eq!(connection.ask(&Request::get("/")).status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

/// A connection that was never made has carried nothing, so any method may go to the next server.
#[test]
fn a_server_that_cannot_be_reached_is_passed_over() {
    let upstream = Upstream::ok();
    let own =
        format!("upstreams = [{{ name = \"app\", servers = [\"http://{}\", \"http://{{app}}\"] }}]\n{OPEN}", Upstream::nowhere());
    let gateway = Gateway::start(upstream.address(), &own);
    for _ in 0..6 {
        assert_eq!(gateway.ask(&Request::get("/")).status, 200);
        assert_eq!(gateway.ask(&Request::post("/", "x")).text(), "ok");
    }
    assert!(upstream.requests().iter().all(|seen| seen.complete));
    assert_eq!(upstream.requests().len(), 12);
}
