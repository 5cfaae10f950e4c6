//! The suites' own tools: a client and an upstream that misread each other would prove nothing.

use crate::support::wire::End;
use crate::support::{Connection, Request, Upstream};

#[test]
fn what_the_client_sends_is_what_the_upstream_remembers() {
    let upstream = Upstream::ok();
    let request = Request::post("/a?b=c", "hello").header("X-One", "1");
    let response = request.send_to(upstream.address());
    let seen = upstream.request();
    assert_eq!((response.status, response.text().as_str(), response.complete), (200, "ok", true));
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.body.as_slice()), ("POST", "/a?b=c", b"hello".as_slice()));
    assert_eq!([seen.raw_head, seen.body].concat(), request.bytes());
}

#[test]
fn chunks_and_trailers_are_read_and_a_missing_end_is_noticed() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("hel");
        exchange.chunk("lo");
        match exchange.seen.target.as_str() {
            "/whole" => exchange.send("0\r\nX-End: yes\r\n\r\n"),
            _ => exchange.close(),
        }
    });
    let whole = Request::get("/whole").send_to(upstream.address());
    assert_eq!((whole.text().as_str(), whole.complete, whole.trailers.get("x-end")), ("hello", true, Some("yes")));
    let torn = Request::get("/torn").send_to(upstream.address());
    assert_eq!((torn.text().as_str(), torn.complete), ("hello", false));
}

#[test]
fn a_close_and_a_reset_are_told_apart() {
    let upstream = Upstream::start(|exchange| match exchange.seen.target.as_str() {
        "/close" => exchange.close(),
        _ => exchange.reset(),
    });
    for (path, end) in [("/close", End::Closed), ("/reset", End::Reset)] {
        let mut connection = Connection::to(upstream.address());
        connection.send(Request::get(path).bytes());
        assert_eq!(connection.end(), end, "{path}");
    }
}
