//! Limits per second, of requests under way, and of connections, each of a key or an address.

use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;

use crate::support::http2::{Http2, empty, get};
use crate::support::raw_http2::{CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, RawHttp2, frame, head};
use crate::support::wire::End;
use crate::support::{Connection, Gate, Gateway, Request, Response, Upstream, eventually};

/// Asks so often over one connection. Returns how many were admitted, and the most that a burst and a rate of one a second allow
/// for the time it took.
fn admitted(gateway: &Gateway, request: &Request, requests: usize, burst: usize) -> (usize, usize) {
    let mut connection = gateway.connect();
    let begun = clock::monotonic();
    let answers: Vec<Response> = (0..requests).map(|_| connection.ask(request)).collect();
    let most = burst + usize::try_from((clock::monotonic() - begun).as_secs()).expect("seconds are few") + 1;
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.expect(429, "rate_limited");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    (answers.iter().filter(|answer| answer.status == 200).count(), most)
}

#[track_caller]
fn is_limited(gateway: &Gateway, request: &Request, burst: usize) {
    let (admitted, most) = admitted(gateway, request, 20, burst);
    assert!((burst..=most).contains(&admitted), "{admitted}, not {burst} to {most}");
}

#[test]
fn each_key_gets_its_burst_and_then_its_rate() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "limits = { per_second = 1, burst = 5 }");
    let keys = [(); 2].map(|()| gateway.create_key(&[]));
    for key in &keys {
        is_limited(&gateway, &Request::get("/").key(key), 5);
    }
    eventually("the rate admits another", || gateway.ask(&Request::get("/").key(&keys[0])).status == 200);
    let rotated = gateway.cli_json(&["keys", "rotate", &keys[0].id]);
    let secret = rotated["key"].as_str().expect("a text");
    let (by_the_new_secret, most) = admitted(&gateway, &Request::get("/").header("X-API-Key", secret), 20, 0);
    assert!(by_the_new_secret <= most + 1, "its new secret has no burst of its own: {by_the_new_secret}");
}

#[test]
fn streams_of_one_connection_share_a_burst_and_a_rate() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "limits = { per_second = 1, burst = 5 }");
    let key = gateway.create_key(&[]);
    let requests = (0..60).map(|_| empty(get("/").header("x-api-key", &key.secret))).collect();
    let begun = clock::monotonic();
    let answers = Http2::to(gateway.address()).ask_all(requests);
    let most = 5 + usize::try_from((clock::monotonic() - begun).as_secs()).expect("seconds are few") + 1;
    let (admitted, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().map(|answer| answer.expect("a whole answer")).partition(|answer| answer.status == 200);
    assert!((5..=most).contains(&admitted.len()), "{}, not 5 to {most}", admitted.len());
    assert!(refused.iter().all(|answer| answer.status == 429 && answer.headers["retry-after"] == "1"));
}

#[test]
fn what_is_refused_costs_nothing_of_the_hour_and_reaches_no_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "limits = { per_second = 1, burst = 3 }");
    let key = gateway.create_key(&["--rate-limit", "1000"]);
    let (admitted, _) = admitted(&gateway, &Request::get("/").key(&key), 30, 3);
    assert_eq!(upstream.requests().len(), admitted);
    eventually("only what was admitted is counted", || gateway.cli_json(&["limits", "show", &key.id])["used"] == admitted);
    assert_eq!(gateway.metric("gateway_auth_total{result=\"limited\"}"), 30 - admitted as u64);
}

const ROUTES: &str = r#"
    [client_ip]
    trusted_proxies = ["127.0.0.1"]
    [limits]
    per_second = 1
    burst = 4
    [[upstreams]]
    name = "app"
    servers = ["http://{app}"]
    [[routes]]
    path = "/"
    upstream = "app"
    auth = "none"
    [[routes]]
    path = "/keyed"
    upstream = "app"
    auth = "optional"
    [[routes]]
    path = "/slow"
    upstream = "app"
    auth = "none"
    limit = { per_second = 1, burst = 2 }
    [[routes]]
    path = "/free"
    upstream = "app"
    auth = "none"
    limit = {}
"#;

#[test]
fn without_a_key_each_client_address_is_counted_also_behind_a_proxy() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ROUTES);
    for client in ["203.0.113.1", "203.0.113.2", "2001:db8:0:1::1"] {
        is_limited(&gateway, &Request::get("/").header("X-Forwarded-For", client), 4);
    }
    let neighbour = Request::get("/keyed").header("X-Forwarded-For", "2001:db8:0:1::2");
    let (of_the_same_subscriber, most) = admitted(&gateway, &neighbour, 10, 0);
    assert!(of_the_same_subscriber <= most, "{of_the_same_subscriber}");
    let key = gateway.create_key(&[]);
    is_limited(&gateway, &neighbour.key(&key), 4);
}

#[test]
fn a_route_with_a_limit_of_its_own_is_counted_apart() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ROUTES);
    is_limited(&gateway, &Request::get("/slow"), 2);
    is_limited(&gateway, &Request::get("/"), 4);
    let (free, _) = admitted(&gateway, &Request::get("/free"), 20, 0);
    assert_eq!(free, 20);
}

#[test]
fn no_more_than_so_many_are_under_way_until_the_last_byte_of_one() {
    let gate = Gate::default();
    let upstream = {
        let gate = gate.clone();
        Upstream::start(move |exchange| {
            if exchange.seen.target == "/held" {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
                gate.wait();
                exchange.send("k");
            } else {
                exchange.answer(200, &[], "ok");
            }
        })
    };
    let gateway = Gateway::start(upstream.address(), "limits.concurrent = 3");
    let (key, other) = (gateway.create_key(&[]), gateway.create_key(&[]));
    let mut held: Vec<Connection> = (0..3).map(|_| gateway.connect()).collect();
    for connection in &mut held {
        connection.send(Request::get("/held").key(&key).bytes());
        assert_eq!(connection.head().0, 200);
    }
    for _ in 0..4 {
        gateway.ask(&Request::get("/").key(&key)).expect(429, "rate_limited");
    }
    assert_eq!(gateway.ask(&Request::get("/").key(&other)).status, 200);
    // A client that leaves makes room, too.
    held.pop();
    eventually("there is room for one", || gateway.ask(&Request::get("/").key(&key)).status == 200);
    gate.open();
    eventually("all have ended", || gateway.metric("gateway_requests_in_flight") == 0);
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 200);
}

#[test]
fn streams_of_one_connection_are_under_way_each_for_itself() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| match exchange.seen.target.as_str() {
            "/held" => exchange.half_and_half(&gate),
            _ => exchange.answer(200, &[], "ok"),
        }
    });
    let gateway = Gateway::start(upstream.address(), "limits.concurrent = 3");
    let key = gateway.create_key(&[]);
    let with_key = [("x-api-key", key.secret.as_str())];
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    for stream in [1, 3, 5] {
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, head("GET", "/held", &with_key)));
        raw.next_of(DATA).expect("the first half");
    }
    let another = Http2::to(gateway.address());
    let status = || another.ask(empty(get("/").header("x-api-key", &key.secret))).status;
    assert_eq!([status(), status()], [429, 429]);
    raw.send(frame(RST_STREAM, 0, 3, CANCEL.to_be_bytes()));
    eventually("there is room for one", || status() == 200);
    assert_eq!(gateway.metric("gateway_requests_in_flight"), 2, "the others have ended");
    gate.open();
    assert_eq!([(); 2].map(|()| raw.next_of(DATA).expect("the second half").payload), [b"full"; 2]);
}

/// Whether a connection from there is served.
fn is_served(connection: &mut Connection, start: &str) -> bool {
    let request = Request::get("/");
    let sent = connection.try_send([start.as_bytes(), &request.bytes()].concat());
    sent.is_ok() && connection.wire().head().is_ok_and(|head| head.is_some())
}

#[test]
fn an_address_has_so_many_connections_and_the_end_of_one_makes_room() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "server.max_connections_per_address = 4");
    let mut held: Vec<Connection> = (0..4).map(|_| gateway.connect()).collect();
    assert!(held.iter_mut().all(|connection| is_served(connection, "")));
    let mut refused = gateway.connect();
    assert_eq!(refused.end(), End::Closed);
    eventually("the log says why", || gateway.log().contains("its address has too many"));
    held.pop();
    eventually("there is room for another", || is_served(&mut gateway.connect(), ""));
    assert!(held.iter_mut().all(|connection| is_served(connection, "")), "the others are as they were");
}

#[test]
fn connections_of_a_trusted_proxy_are_counted_only_for_whom_it_names() {
    let upstream = Upstream::ok();
    let own = "server = { max_connections_per_address = 2, proxy_protocol = true }\nclient_ip.trusted_proxies = [\"127.0.0.1\"]";
    let gateway = Gateway::start(upstream.address(), own);
    let mut held: Vec<Connection> = (0..6).map(|_| gateway.connect()).collect();
    assert!(held.iter_mut().all(|connection| is_served(connection, "PROXY UNKNOWN\r\n")));
    let named = "PROXY TCP4 203.0.113.7 127.0.0.1 51234 443\r\n";
    let mut of_one: Vec<Connection> = (0..3).map(|_| gateway.connect()).collect();
    let served: Vec<bool> = of_one.iter_mut().map(|connection| is_served(connection, named)).collect();
    assert_eq!(served, [true, true, false]);
}

#[test]
fn a_limited_client_is_served_again_within_what_it_was_told() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "limits = { per_second = 1, burst = 1 }");
    let request = Request::get("/").key(&gateway.create_key(&[]));
    let mut connection = gateway.connect();
    let mut refused = connection.ask(&request);
    while refused.status == 200 {
        refused = connection.ask(&request);
    }
    let told = refused.header("retry-after").and_then(|seconds| seconds.parse().ok()).expect("it is told how long to wait");
    thread::sleep(Duration::from_secs(told));
    assert_eq!(connection.ask(&request).status, 200);
}
