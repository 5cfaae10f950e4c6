//! What is slow, breaks off or is left: it never looks whole, and holds up nobody else.

use std::sync::{Arc, Mutex};

use h2::Reason;
use tokio::sync::Semaphore;

use super::{OPEN, before};
use crate::support::http2_upstream::{Call, Http2Upstream};
use crate::support::raw_http2::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, RawHttp2, frame, head};
use crate::support::wire::End;
use crate::support::{Gateway, Request, eventually};

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Http2Upstream::start({
        let gate = Arc::clone(&gate);
        move |mut call: Call| {
            let gate = Arc::clone(&gate);
            async move {
                if call.path() == "/headless" {
                    return call.reset(Reason::INTERNAL_ERROR);
                }
                let mut stream = call.begin(200, &[]);
                stream.send_data("half".into(), false).expect("it is waited for");
                gate.acquire().await.expect("it is not closed").forget();
                stream.send_reset(Reason::ENHANCE_YOUR_CALM);
            }
        }
    });
    let gateway = before(&upstream, "");
    gateway.ask(&Request::get("/headless")).expect(502, "upstream_protocol");
    let mut connection = gateway.connect();
    connection.send(Request::get("/").bytes());
    assert_eq!(connection.head().0, 200);
    assert_eq!(connection.wire().exactly(9).expect("the first half"), b"4\r\nhalf\r\n");
    gate.add_permits(1);
    connection.end();
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head("GET", "/", &[])));
    assert_eq!(raw.next_of(DATA).expect("the first half").payload, b"half");
    gate.add_permits(1);
    assert_eq!(raw.next_of(RST_STREAM).expect("it is reset").code(), u32::from(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(upstream.connections(), 1, "the others go on");
}

#[test]
fn whoever_leaves_frees_the_server_and_half_an_upload_is_never_whole() {
    let codes = Arc::new(Mutex::new(Vec::new()));
    let upstream = Http2Upstream::start({
        let codes = Arc::clone(&codes);
        move |mut call: Call| {
            let codes = Arc::clone(&codes);
            async move {
                let path = call.path().to_owned();
                let outcome = match path.as_str() {
                    "/upload" => call.body().await.err().and_then(|error| error.reason()),
                    "/silent" => call.left().await,
                    _ => {
                        let mut stream = call.begin(200, &[]);
                        stream.send_data("half".into(), false).expect("it is waited for");
                        std::future::poll_fn(|context| stream.poll_reset(context)).await.ok()
                    }
                };
                codes.lock().expect("no panic").push((path, outcome));
            }
        }
    });
    let gateway = before(&upstream, "");
    let upload = "POST /upload HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 10\r\n\r\nabc";
    for (request, is_answered) in
        [(upload, false), ("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n", false), ("GET /half HTTP/1.1\r\nHost: a\r\n\r\n", true)]
    {
        let mut connection = gateway.connect();
        let before = upstream.requests().len();
        connection.send(request);
        eventually("it reached the server", || upstream.requests().len() > before);
        if is_answered {
            assert_eq!(connection.head().0, 200);
        }
        drop(connection);
        eventually("the server knows", || codes.lock().expect("no panic").len() > before);
    }
    let codes = codes.lock().expect("no panic").clone();
    assert!(codes.iter().all(|(_, code)| *code == Some(Reason::CANCEL)), "{codes:?}");
    assert_eq!(upstream.connections(), 1);
    eventually("nothing is left", || gateway.metric("gateway_requests_in_flight") == 0);
}

#[test]
fn a_server_that_is_too_slow_is_given_up_and_asked_on_another_connection() {
    let upstream = Http2Upstream::start(|mut call: Call| async move {
        match call.path() {
            "/silent" => drop(call.left().await),
            "/stalls" => {
                let mut stream = call.begin(200, &[]);
                stream.send_data("half".into(), false).expect("it is waited for");
                let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
            }
            _ => call.answer("ok"),
        }
    });
    let gateway = before(&upstream, "response_timeout = \"300ms\", body_timeout = \"300ms\"");
    gateway.ask(&Request::get("/silent")).expect(504, "upstream_timeout");
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    assert_eq!(upstream.connections(), 2);
    assert!(!gateway.ask(&Request::get("/stalls")).complete);
    assert_eq!(upstream.connections(), 2, "it has answered here");
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_else() {
    const SIZE: usize = 4 << 20;
    let upstream = Http2Upstream::start(|call: Call| async move { call.answer(vec![b'x'; SIZE]) });
    let gateway = before(&upstream, "");
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = gateway.connect();
            connection.send(Request::get("/").bytes());
            connection
        })
        .collect();
    eventually("they are under way", || upstream.requests().len() == slow.len());
    assert_eq!(gateway.ask(&Request::get("/")).body.len(), SIZE);
    for mut connection in slow {
        assert_eq!(connection.response().body.len(), SIZE);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_drain_completes_what_is_under_way_and_waits_for_nothing_else() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Http2Upstream::start({
        let gate = Arc::clone(&gate);
        move |mut call: Call| {
            let gate = Arc::clone(&gate);
            async move {
                let mut stream = call.begin(200, &[("content-length", "8")]);
                stream.send_data("half".into(), false).expect("it is waited for");
                gate.acquire().await.expect("it is not closed").forget();
                stream.send_data("full".into(), true).expect("it is waited for");
            }
        }
    });
    let settings =
        format!("upstreams = [{{ name = \"app\", servers = [\"h2c://{{app}}\"] }}]\nserver.drain_timeout = \"1h\"\n{OPEN}");
    let mut gateway = Gateway::start(upstream.address(), &settings);
    let mut connection = gateway.connect();
    connection.send(Request::get("/").bytes());
    assert_eq!(connection.head().0, 200);
    assert_eq!(connection.wire().exactly(4).expect("the first half"), b"half");
    gateway.terminate();
    eventually("it drains", || gateway.log().contains("draining"));
    gate.add_permits(1);
    assert_eq!(connection.wire().exactly(4).expect("the other half"), b"full");
    assert_eq!(connection.end(), End::Closed);
    assert!(gateway.wait().success());
}
