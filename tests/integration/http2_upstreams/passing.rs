//! What passes: requests, answers and trailers, whole and as they were, and what HTTP/1.1 has and HTTP/2 has not.

use std::sync::{Arc, Mutex};

use http_body_util::Full;

use super::{OPEN, before};
use crate::support::http2::{Http2, get};
use crate::support::http2_upstream::{Call, Http2Upstream};
use crate::support::raw_http2::{END_HEADERS, END_STREAM, HEADERS, RawHttp2, block, frame, head};
use crate::support::tls::Authority;
use crate::support::{Gateway, Request};
use crate::upstream_ways::{echo_of_five, expect_tunnel};

#[test]
fn a_request_and_its_answer_pass_whole() {
    let upstream = Http2Upstream::start(|mut call: Call| async move {
        let (body, trailers) = call.body().await.expect("it comes to its end");
        let mut stream = call.begin(201, &[("x-app", "1"), ("set-cookie", "a=b"), ("set-cookie", "c=d")]);
        stream.send_data(body.into(), false).expect("it is waited for");
        let trailers = trailers.into_iter().filter_map(|(name, value)| Some((name?, value)));
        stream.send_trailers(trailers.collect()).expect("they are waited for");
    });
    let gateway = before(&upstream, "");
    let request = "POST /a%2Fb?c=d HTTP/1.1\r\nHost: gateway.test:81\r\nCookie: a=b; c=d\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
                   Trailer: X-Sum, X-User-ID\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\nX-User-ID: eve\r\n\r\n";
    let mut connection = gateway.connect();
    connection.send(request);
    let answer = connection.response();
    assert_eq!((answer.status, answer.text().as_str(), answer.complete), (201, "abc", true));
    assert_eq!(answer.headers.all("set-cookie"), ["a=b", "c=d"]);
    let seen = upstream.requests().remove(0);
    assert_eq!((seen.method.as_str(), seen.uri.to_string()), ("POST", "http://gateway.test:81/a%2Fb?c=d".to_owned()));
    for (name, value) in [("cookie", "a=b; c=d"), ("te", "trailers"), ("x-forwarded-proto", "http"), ("x-real-ip", "127.0.0.1")] {
        assert_eq!(seen.headers.get(name).map(http::HeaderValue::as_bytes), Some(value.as_bytes()), "{name}");
    }
    for name in ["host", "connection", "transfer-encoding", "x-hop"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    let upload = get("/").method("POST").body(Full::from("over HTTP/2")).expect("a request");
    assert_eq!(Http2::to(gateway.address()).ask(upload).body, "over HTTP/2");
    for request in [Request::new("HEAD", "/"), Request::get("/")] {
        let mut connection = gateway.connect();
        let answer = connection.ask(&request);
        assert!(answer.status == 201 && answer.body.is_empty(), "{answer:?}");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn trailers_pass_both_ways_without_what_is_reserved() {
    let names = Arc::<Mutex<Vec<String>>>::default();
    let upstream = Http2Upstream::start({
        let names = Arc::clone(&names);
        move |mut call: Call| {
            let names = Arc::clone(&names);
            async move {
                let (_, trailers) = call.body().await.expect("it comes to its end");
                names.lock().expect("no panic").extend(trailers.keys().map(ToString::to_string));
                call.begin(200, &[]).send_trailers(trailers).expect("they are waited for");
            }
        }
    });
    let gateway = before(&upstream, "");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    let trailers = block(&[("x-sum", "6"), ("x-user-id", "eve"), ("x_user_id", "eve"), ("authorization", "Bearer x")]);
    raw.send(frame(HEADERS, END_HEADERS, 1, head("POST", "/", &[])));
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers));
    let sections: Vec<_> = (0..2).filter_map(|_| raw.next_of(HEADERS)).collect();
    assert!(sections[0].flags & END_STREAM == 0 && sections[1].flags & END_STREAM != 0, "{sections:?}");
    assert_eq!(*names.lock().expect("no panic"), ["x-sum"]);
}

#[test]
fn an_early_answer_is_whole_though_the_upload_is_not() {
    let upstream = Http2Upstream::start(|call: Call| async move { call.answer("enough") });
    let gateway = before(&upstream, "");
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 10000000\r\n\r\nabc");
    let answer = connection.response();
    assert_eq!((answer.text().as_str(), answer.complete), ("enough", true));
    assert_eq!(gateway.ask(&Request::get("/")).text(), "enough");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn early_hints_are_left_out_whole() {
    let upstream = Http2Upstream::start(|mut call: Call| async move {
        call.early_hints();
        call.answer("ok");
    });
    let gateway = before(&upstream, "");
    let answer = gateway.ask(&Request::get("/"));
    assert_eq!((answer.status, answer.text().as_str(), answer.header("link")), (200, "ok", None));
}

#[test]
fn a_websocket_goes_where_http1_is_spoken() {
    let refusing = before(&Http2Upstream::ok(), "");
    let upgrade = Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    refusing.ask(&upgrade).expect(502, "upstream_protocol");

    let (authority, upstream) = (Authority::new(), echo_of_five());
    // It would speak HTTP/2 with whoever offers that.
    let (address, _) = crate::support::front::tls(authority.make(&["localhost"]).server(None), upstream.address());
    let own = format!(
        "upstreams = [{{ name = \"app\", servers = [\"https://localhost:{}\"], ca = \"ca.pem\" }}]\n{OPEN}",
        address.port()
    );
    let mut gateway = Gateway::stopped(address, &own);
    authority.write(gateway.folder(), "ca.pem");
    gateway.run();
    expect_tunnel(&gateway);
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_upload_is_asked() {
    let upstream = Http2Upstream::start(|mut call: Call| async move {
        let (body, _) = call.body().await.expect("it comes to its end");
        call.answer(body);
    });
    let gateway = before(&upstream, "");
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(connection.head().0, 100);
    connection.send("abc");
    assert_eq!(connection.response().text(), "abc");
    assert!(!upstream.requests()[0].headers.contains_key("expect"));
}
