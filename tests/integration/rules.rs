//! What a route says of a request is done: paths and headers rewritten, redirects, fixed answers, cross-origin rules.

use crate::support::upstream::Seen;
use crate::support::{Gate, Gateway, Request, Response, Upstream};

/// One route without authentication at `/`, with more keys.
fn route(more: &str) -> String {
    format!("[[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n{more}")
}

fn through(own: &str, request: &Request) -> (Seen, Response) {
    let upstream =
        Upstream::start(|exchange| exchange.answer(200, &[("Server", "app"), ("X-Debug", "1"), ("X-Kept", "1")], "ok"));
    let gateway = Gateway::start(upstream.address(), own);
    let response = gateway.ask(request);
    assert_eq!(response.status, 200, "{response:?}");
    (upstream.request(), response)
}

#[test]
fn the_routes_path_is_replaced_and_the_rest_kept_byte_for_byte() {
    let upstream = Upstream::ok();
    let routes = r#"
        [[routes]]
        path = "/v1"
        upstream = "app"
        auth = "none"
        rewrite = "/v2/api"
        [[routes]]
        path = "/app"
        upstream = "app"
        auth = "none"
        strip_prefix = true
    "#;
    let gateway = Gateway::start(upstream.address(), routes);
    for (asked, forwarded) in [
        ("/v1", "/v2/api"),
        ("/v1?x=%2f", "/v2/api?x=%2f"),
        ("/v1/", "/v2/api/"),
        ("/v1/a%2fb?c", "/v2/api/a%2fb?c"),
        ("/v1/v1", "/v2/api/v1"),
        ("/app", "/"),
        ("/app/", "/"),
        ("/app?x", "/?x"),
        ("/app/a//b", "/a//b"),
    ] {
        let before = upstream.requests().len();
        assert_eq!(gateway.ask(&Request::get(asked)).status, 200, "{asked}");
        assert_eq!(upstream.requests()[before].target, forwarded, "{asked}");
    }
}

#[test]
fn headers_are_set_and_removed_both_ways() {
    let own = route(
        "request_headers = { set = { X-Env = \"prod\", X-Over = \"ours\" }, remove = [\"Cookie\"] }\n\
         response_headers = { set = { X-Frame-Options = \"DENY\", Server = \"gateway\" }, remove = [\"X-Debug\"] }",
    );
    let (seen, response) =
        through(&own, &Request::get("/").header("X-Over", "theirs").header("Cookie", "a=b").header("X-Other", "1"));
    assert_eq!((seen.headers.all("x-env"), seen.headers.all("x-over")), (vec!["prod"], vec!["ours"]));
    assert!(!seen.headers.has("cookie") && seen.headers.has("x-other"));
    assert_eq!((response.headers.all("x-frame-options"), response.headers.all("server")), (vec!["DENY"], vec!["gateway"]));
    assert!(!response.headers.has("x-debug") && response.headers.has("x-kept"));
}

#[test]
fn the_upstream_may_be_called_by_another_name() {
    let (seen, _) = through(&route("upstream_host = \"internal.test\""), &Request::get("/").host("shop.test"));
    assert_eq!((seen.headers.all("host"), seen.headers.all("x-forwarded-host")), (vec!["internal.test"], vec!["shop.test"]));
}

#[test]
fn a_redirect_leads_to_the_same_place_elsewhere() {
    let routes = r#"
        [[routes]]
        path = "/"
        redirect = { to = "https://{host}{path}{query}" }
        [[routes]]
        path = "/old"
        redirect = { to = "/new", status = 301 }
    "#;
    let gateway = Gateway::start(Upstream::nowhere(), routes);
    for (asked, status, location) in
        [("/a%2fb?c=d", 308, "https://shop.test/a%2fb?c=d"), ("/", 308, "https://shop.test/"), ("/old?x", 301, "/new")]
    {
        let response = gateway.ask(&Request::get(asked).host("shop.test"));
        assert_eq!((response.status, response.header("location")), (status, Some(location)), "{asked}");
    }
}

#[test]
fn a_fixed_answer_needs_no_upstream() {
    let routes = r#"
        [[routes]]
        path = "/robots.txt"
        auth = "none"
        respond = { body = "User-agent: *\n" }
        [[routes]]
        path = "/closed"
        auth = "none"
        respond = { status = 503, content_type = "application/json", body = "{}" }
        [[routes]]
        path = "/private"
        respond = { body = "for those with a key" }
    "#;
    let gateway = Gateway::start(Upstream::nowhere(), routes);
    let key = gateway.create_key(&[]);
    let plain = gateway.ask(&Request::get("/robots.txt"));
    assert_eq!((plain.status, plain.text().as_str()), (200, "User-agent: *\n"));
    assert_eq!(plain.header("content-type"), Some("text/plain; charset=utf-8"));
    let closed = gateway.ask(&Request::post("/closed", "x"));
    assert_eq!((closed.status, closed.header("content-type"), closed.text().as_str()), (503, Some("application/json"), "{}"));
    gateway.ask(&Request::get("/private")).expect(401, "missing_key");
    assert_eq!(gateway.ask(&Request::get("/private").key(&key)).text(), "for those with a key");
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::new("HEAD", "/robots.txt")).header("content-length"), Some("14"));
    assert_eq!(connection.ask(&Request::get("/robots.txt")).status, 200);
}

const CORS: &str = r#"
    [[routes]]
    path = "/"
    upstream = "app"
    cors = { origins = ["https://app.example.com"], expose = ["X-Total"], credentials = true, max_age = "10m" }
"#;

#[test]
fn a_preflight_is_answered_without_a_key_and_goes_no_further() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), CORS);
    let preflight = |origin: &str| {
        let request = Request::new("OPTIONS", "/things").header("Origin", origin).header("Access-Control-Request-Method", "PUT");
        gateway.ask(&request.header("Access-Control-Request-Headers", "authorization, x-custom"))
    };
    let allowed = preflight("https://app.example.com");
    assert!([200, 204].contains(&allowed.status), "{allowed:?}");
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", "authorization, x-custom"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(allowed.header(name), Some(value), "{name}");
    }
    assert!(allowed.header("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")), "{allowed:?}");
    assert!(allowed.headers.all("vary").join(",").to_ascii_lowercase().contains("origin"), "{allowed:?}");
    for stranger in ["https://evil.test", "https://app.example.com.evil.test", "null", "http://app.example.com"] {
        assert!(!preflight(stranger).headers.has("access-control-allow-origin"), "{stranger}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

/// Without these headers on a refusal a browser shows its script a network error instead of the reason.
#[test]
fn answers_and_refusals_carry_the_cross_origin_headers() {
    let upstream =
        Upstream::start(|exchange| exchange.answer(200, &[("Access-Control-Allow-Origin", "*"), ("X-Total", "1")], "ok"));
    let gateway = Gateway::start(upstream.address(), CORS);
    let key = gateway.create_key(&[]);
    let request = Request::get("/").header("Origin", "https://app.example.com");
    for response in [gateway.ask(&request), gateway.ask(&request.clone().key(&key))] {
        assert_eq!(response.headers.all("access-control-allow-origin"), ["https://app.example.com"], "{response:?}");
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
        assert!(
            response.header("access-control-expose-headers").is_some_and(|names| names.eq_ignore_ascii_case("X-Total")),
            "{response:?}"
        );
    }
    let stranger = gateway.ask(&Request::get("/").key(&key).header("Origin", "https://evil.test"));
    assert_eq!(stranger.status, 200);
    assert!(!stranger.headers.has("access-control-allow-credentials"), "{stranger:?}");
}

#[test]
fn any_origin_may_be_allowed() {
    let gateway = Gateway::start(
        Upstream::nowhere(),
        "[[routes]]\npath = \"/\"\nauth = \"none\"\nrespond = { body = \"ok\" }\ncors = { origins = [\"*\"] }",
    );
    let response = gateway.ask(&Request::get("/").header("Origin", "https://anybody.test"));
    assert_eq!((response.status, response.header("access-control-allow-origin")), (200, Some("*")));
}

#[test]
fn a_route_has_its_own_deadlines_and_sizes() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.body();
            gate.wait();
        }
    });
    let gateway = Gateway::start(
        upstream.address(),
        &route("max_body_bytes = \"4B\"\ntimeouts = { response = \"200ms\", request_body = \"200ms\" }"),
    );
    gateway.ask(&Request::get("/")).expect(504, "upstream_timeout");
    gateway.ask(&Request::post("/", "12345")).expect(413, "body_too_large");
    let mut connection = gateway.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n12");
    connection.response().expect(408, "request_timeout");
    gate.open();
}
