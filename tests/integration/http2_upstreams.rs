//! HTTP/2 towards upstreams: what holds over HTTP/1.1 holds for each stream of a shared connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use hokusai_gateway::clock;
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::support::http2::{Http2, empty, get};
use crate::support::http2_upstream::{Call, Http2Upstream};
use crate::support::raw_http2::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, RawHttp2, block, frame, head};
use crate::support::tls::Authority;
use crate::support::wire::End;
use crate::support::{Gateway, Request, Upstream, eventually};
use crate::upstream_ways::{echo_of_five, expect_tunnel};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// With one worker, so that all requests share what can be shared.
fn before(upstream: &Http2Upstream, own: &str) -> Gateway {
    let settings = "upstreams = [{ name = \"app\", servers = [\"h2c://{app}\"], {own} }]\nserver.workers = 1\n";
    Gateway::start(upstream.address(), &format!("{}{OPEN}", settings.replace("{own}", own)))
}

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
fn requests_at_once_share_a_connection_up_to_what_the_server_takes() {
    const TAKEN: u32 = 5;
    let (under_way, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Http2Upstream::taking(TAKEN, {
        let (under_way, most, gate) = (Arc::clone(&under_way), Arc::clone(&most), Arc::clone(&gate));
        move |call: Call| {
            let (under_way, most, gate) = (Arc::clone(&under_way), Arc::clone(&most), Arc::clone(&gate));
            async move {
                most.fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                gate.acquire().await.expect("it is not closed").forget();
                call.answer("ok");
            }
        }
    });
    let gateway = before(&upstream, "");
    let client = thread::spawn({
        let address = gateway.address();
        move || Http2::to(address).ask_all((0..13).map(|_| empty(get("/"))).collect())
    });
    eventually("all are under way", || under_way.load(Ordering::Relaxed) == 13);
    assert_eq!(upstream.connections(), 3, "5, 5 and 3 of them");
    gate.add_permits(1000);
    let answers = client.join().expect("no panic");
    assert!(answers.into_iter().all(|answer| answer.is_ok_and(|answer| answer.status == 200)));
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    assert_eq!(upstream.connections(), 3, "they are used again");
}

#[test]
fn what_a_server_refused_unseen_goes_out_again_unless_its_body_has_gone() {
    for (request, status, connections) in
        [(Request::get("/"), 200, 2), (Request::new("DELETE", "/"), 200, 2), (Request::post("/", "x"), 502, 1)]
    {
        assert_eq!(failing_on_the_first_connection(&request, Failing::Refuses), (status, connections), "{request:?}");
    }
}

#[test]
fn what_may_have_arrived_goes_out_again_only_where_that_does_no_harm() {
    for (request, status, connections) in
        [(Request::get("/"), 200, 2), (Request::new("POST", "/"), 502, 1), (Request::post("/", "x"), 502, 1)]
    {
        assert_eq!(failing_on_the_first_connection(&request, Failing::HangsUp), (status, connections), "{request:?}");
    }
}

/// What a server does to a request on a connection that has served one before.
#[derive(Clone, Copy)]
enum Failing {
    Refuses,
    HangsUp,
}

/// The status that comes of it, and how many connections it took.
fn failing_on_the_first_connection(request: &Request, failing: Failing) -> (u16, usize) {
    let upstream = Http2Upstream::start(move |call: Call| async move {
        match failing {
            _ if call.path() == "/first" || call.connection > 1 => call.answer("ok"),
            Failing::Refuses => call.reset(Reason::REFUSED_STREAM),
            Failing::HangsUp => call.hang_up().await,
        }
    });
    let gateway = before(&upstream, "");
    assert_eq!(gateway.ask(&Request::get("/first")).status, 200);
    (gateway.ask(request).status, upstream.connections())
}

#[test]
fn a_server_that_says_it_ends_gets_no_more_and_completes_what_it_has() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Http2Upstream::start({
        let gate = Arc::clone(&gate);
        move |mut call: Call| {
            let gate = Arc::clone(&gate);
            async move {
                if call.path() == "/long" {
                    let mut stream = call.begin(200, &[]);
                    call.go_away();
                    stream.send_data("half".into(), false).expect("it is waited for");
                    gate.acquire().await.expect("it is not closed").forget();
                    stream.send_data("full".into(), true).expect("it is waited for");
                } else {
                    call.answer("ok");
                }
            }
        }
    });
    let gateway = before(&upstream, "");
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head("GET", "/long", &[])));
    assert_eq!(raw.next_of(DATA).expect("the first half").payload, b"half");
    for _ in 0..50 {
        assert_eq!(gateway.ask(&Request::post("/", "body")).status, 200);
    }
    assert_eq!(upstream.connections(), 2);
    gate.add_permits(1);
    assert_eq!(raw.next_of(DATA).expect("the other half").payload, b"full");
}

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

/// Each would wait for the next one's, one after the other.
#[test]
fn those_who_wait_for_a_connection_that_does_not_come_to_be_wait_once() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let own = "upstreams = [{ name = \"app\", servers = [\"h2c://{app}\"], connect_timeout = \"500ms\" }]\nserver.workers = 1\n";
    let gateway = Gateway::start(address, &format!("{own}{OPEN}"));
    let began = clock::monotonic();
    let answers = Http2::to(gateway.address()).ask_all((0..20).map(|_| empty(get("/"))).collect());
    let took = clock::monotonic().duration_since(began);
    assert!(answers.into_iter().all(|answer| answer.is_ok_and(|answer| answer.status == 504)));
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(5), "{took:?}");
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
fn a_server_that_speaks_something_else_is_unreachable() {
    let upstream = Upstream::ok();
    let own = format!("upstreams = [{{ name = \"app\", servers = [\"h2c://{{app}}\"] }}]\n{OPEN}");
    let gateway = Gateway::start(upstream.address(), &own);
    gateway.ask(&Request::get("/")).expect(502, "upstream_unreachable");
    let healthy = format!("gateway_upstream_healthy{{upstream=\"app\",server=\"h2c://{}\"}}", upstream.address());
    assert!(gateway.metrics().contains_key(&healthy));
    assert_eq!(gateway.metric(&healthy), 0);
}

#[test]
fn a_server_is_checked_in_its_own_protocol() {
    let well = Http2Upstream::ok();
    let ill = Http2Upstream::start(|mut call: Call| async move {
        let _ = call.begin(500, &[]).send_data(Bytes::new(), true);
    });
    let check = "health_check = { path = \"/health\", interval = \"20ms\", unhealthy_after = 1 }";
    let settings = format!(
        "upstreams = [{{ name = \"app\", servers = [\"h2c://{}\", \"h2c://{}\"], {check} }}]\n{OPEN}",
        well.address(),
        ill.address()
    );
    let gateway = Gateway::start(well.address(), &settings);
    let healthy = |upstream: &Http2Upstream| {
        gateway.metric(&format!("gateway_upstream_healthy{{upstream=\"app\",server=\"h2c://{}\"}}", upstream.address()))
    };
    eventually("the one is out", || healthy(&ill) == 0);
    eventually("the other was checked", || !well.requests().is_empty());
    assert_eq!(healthy(&well), 1);
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
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
