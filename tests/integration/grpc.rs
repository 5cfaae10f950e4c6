//! The gateway's own answers in the words of gRPC.

use std::time::Duration;

use hokusai_gateway::clock;
use http_body_util::Full;

use crate::support::http2::{Answer, Http2, empty};
use crate::support::http2_upstream::{Call, Http2Upstream};
use crate::support::{Gateway, Upstream, begin_within_an_hour, eventually};

fn call(path: &str) -> http::request::Builder {
    http::Request::post(format!("https://gateway.test{path}")).header("content-type", "application/grpc+proto")
}

#[track_caller]
fn assert_told(answer: &Answer, code: &str, message: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    for (name, value) in [("content-type", "application/grpc"), ("grpc-status", code), ("grpc-message", message)] {
        assert_eq!(answer.headers.get(name).map(http::HeaderValue::as_bytes), Some(value.as_bytes()), "{answer:?}");
    }
    assert!(answer.body.is_empty() && answer.trailers.is_empty(), "more than its head: {answer:?}");
    assert!(answer.headers.contains_key("x-request-id"), "{answer:?}");
}

#[test]
fn a_refusal_is_told_in_one_head_and_recorded_as_what_it_is() {
    begin_within_an_hour();
    let gateway = Gateway::start(Upstream::nowhere(), "routes = [{ path = \"/app\", upstream = \"app\" }]");
    let key = gateway.create_key(&["--rate-limit", "1"]);
    let http2 = Http2::to(gateway.address());
    let with_key = || empty(call("/app/Say").header("x-api-key", &key.secret));
    assert_told(&http2.ask(empty(call("/app/Say"))), "16", "This address needs an API key.");
    assert_told(&http2.ask(empty(call("/Say"))), "12", "Nothing is served under this address.");
    assert_told(&http2.ask(with_key()), "14", "The server behind the gateway cannot be reached.");
    let spent = http2.ask(with_key());
    assert_told(&spent, "8", "The API key has spent its requests of this hour.");
    assert_eq!(spent.headers["x-ratelimit-remaining"], "0");
    assert!(spent.headers.contains_key("retry-after"), "{spent:?}");
    for status in [401, 404, 429, 502] {
        eventually("it is logged", || gateway.log().contains(&format!("\"status\":{status}")));
    }
    assert_eq!(gateway.metric("gateway_requests_total{route=\"/app\",method=\"POST\",status=\"401\"}"), 1);
}

#[test]
fn a_deadline_that_has_passed_is_answered_and_the_connection_serves_on() {
    let upstream = Http2Upstream::start(|mut call: Call| async move {
        match call.path() {
            "/hang" => drop(call.left().await),
            _ => call.answer("ok"),
        }
    });
    let settings = "upstreams = [{ name = \"app\", servers = [\"h2c://{app}\"] }]\nserver.workers = 1\n\
                    routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";
    let gateway = Gateway::start(upstream.address(), settings);
    let http2 = Http2::to(gateway.address());
    let began = clock::monotonic();
    let hang = call("/hang").header("grpc-timeout", "300m").body(Full::from("message")).expect("a request");
    assert_told(&http2.ask(hang), "4", "The server behind the gateway did not answer in time.");
    let took = clock::monotonic().duration_since(began);
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(upstream.requests()[0].headers["grpc-timeout"], "300m");
    assert_eq!(http2.ask(empty(call("/"))).body, "ok");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn what_is_no_grpc_gets_its_problem() {
    let gateway = Gateway::start(Upstream::nowhere(), "");
    let web = http::Request::post("https://gateway.test/").header("content-type", "application/grpc-web");
    let answer = Http2::to(gateway.address()).ask(empty(web));
    assert_eq!((answer.status, &answer.headers["content-type"]), (401, &"application/problem+json".parse().unwrap()));
}
