//! The gateway's own answers in the words of gRPC.

use crate::support::http2::{Answer, Http2, empty};
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
fn what_is_no_grpc_gets_its_problem() {
    let gateway = Gateway::start(Upstream::nowhere(), "");
    let web = http::Request::post("https://gateway.test/").header("content-type", "application/grpc-web");
    let answer = Http2::to(gateway.address()).ask(empty(web));
    assert_eq!((answer.status, &answer.headers["content-type"]), (401, &"application/problem+json".parse().unwrap()));
}
