//! Connections that requests share: how many there are, how long each is used, and who is asked on another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use hokusai_gateway::clock;
use tokio::sync::Semaphore;

use super::{OPEN, before};
use crate::support::http2::{Http2, empty, get};
use crate::support::http2_upstream::{Call, Http2Upstream};
use crate::support::raw_http2::{DATA, END_HEADERS, END_STREAM, HEADERS, RawHttp2, frame, head};
use crate::support::{Gateway, Request, Upstream, eventually};

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
