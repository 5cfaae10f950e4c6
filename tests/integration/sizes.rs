//! How large the parts of a request may be where a route has a word in it, over HTTP/1 and HTTP/2.

use http_body_util::Full;

use crate::support::http2::{Http2, get};
use crate::support::{Gateway, Key, Request, Upstream, begin_within_an_hour, eventually};

const ROUTES: &str = r#"
    [server]
    max_header_bytes = "4KiB"
    max_body_bytes = "1KiB"
    [[routes]]
    path = "/"
    upstream = "app"
    [[routes]]
    path = "/small"
    upstream = "app"
    max_header_bytes = "1KiB"
    max_body_bytes = "4B"
    [[routes]]
    path = "/large"
    upstream = "app"
    max_body_bytes = "2KiB"
"#;

/// What is answered to a POST with so many bytes of headers beside the usual ones, and of a body: the status, and the code if
/// it is a refusal.
type Ask<'a> = &'a dyn Fn(&str, usize, usize) -> (u16, String);

fn over_both(gateway: &Gateway, key: &Key, test: impl Fn(Ask<'_>)) {
    let http2 = Http2::to(gateway.address());
    test(&|path, headers, body| {
        let request = Request::post(path, vec![b'x'; body]).key(key).header("X-Large", &"x".repeat(headers));
        let answer = gateway.ask(&request);
        (answer.status, if answer.status == 200 { String::new() } else { answer.code() })
    });
    test(&|path, headers, body| {
        let request = get(path).method("POST").header("x-api-key", &key.secret).header("x-large", "x".repeat(headers));
        let answer = http2.ask(request.body(Full::from(vec![b'x'; body])).expect("a request"));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, problem["code"].as_str().unwrap_or_default().to_owned())
    });
}

fn reading_upstream() -> Upstream {
    Upstream::start(|exchange| {
        exchange.body();
        exchange.answer(200, &[], "ok");
    })
}

#[test]
fn a_route_has_its_own_sizes_of_heads_and_bodies() {
    let upstream = reading_upstream();
    let gateway = Gateway::start(upstream.address(), ROUTES);
    let key = gateway.create_key(&[]);
    let admitted = (200, String::new());
    let (head, body) = ((431, "header_too_large".to_owned()), (413, "body_too_large".to_owned()));
    over_both(&gateway, &key, |ask| {
        assert_eq!(ask("/", 2000, 1024), admitted);
        assert_eq!(ask("/", 0, 1025), body);
        assert_eq!(ask("/", 5000, 0), head);
        assert_eq!(ask("/small", 500, 4), admitted);
        assert_eq!(ask("/small", 0, 5), body);
        assert_eq!(ask("/small", 2000, 0), head);
        assert_eq!(ask("/large", 2000, 2048), admitted);
        assert_eq!(ask("/large", 0, 2049), body);
        assert_eq!(ask("/large", 5000, 0), head);
    });
    assert_eq!(upstream.requests().len(), 6);
}

#[test]
fn what_a_route_refuses_for_its_size_costs_nothing_and_leaves_no_usage() {
    begin_within_an_hour();
    let upstream = reading_upstream();
    let gateway = Gateway::start(upstream.address(), ROUTES);
    let key = gateway.create_key(&["--rate-limit", "4"]);
    over_both(&gateway, &key, |ask| {
        for _ in 0..5 {
            assert_eq!(ask("/small", 2000, 0).0, 431);
            assert_eq!(ask("/small", 0, 5).0, 413);
        }
        assert_eq!([ask("/small", 0, 4).0, ask("/small", 0, 4).0], [200, 200]);
    });
    over_both(&gateway, &key, |ask| assert_eq!(ask("/", 0, 0).0, 429));
    eventually("what was admitted is written", || gateway.metric("gateway_usage_written_total") == 4);
    assert_eq!(gateway.metric("gateway_usage_recorded_total"), 4);
}
