//! Which route a request takes, and that no spelling of a path leads around one.

use crate::support::{Gateway, Request, Upstream};

const ANSWERS: &str = r#"
    [[routes]]
    path = "/"
    auth = "none"
    respond = { body = "root" }
    [[routes]]
    path = "/api"
    auth = "none"
    respond = { body = "api" }
    [[routes]]
    path = "/api/v2"
    auth = "none"
    respond = { body = "v2" }
    [[routes]]
    host = "example.com"
    path = "/"
    auth = "none"
    respond = { body = "example" }
    [[routes]]
    host = "example.com"
    path = "/api"
    auth = "none"
    respond = { body = "example-api" }
    [[routes]]
    host = "*.example.com"
    path = "/"
    auth = "none"
    respond = { body = "wild" }
"#;

const PUBLIC_AND_ADMIN: &str = r#"
    [[routes]]
    path = "/"
    upstream = "app"
    auth = "none"
    [[routes]]
    path = "/public"
    upstream = "app"
    auth = "none"
    [[routes]]
    path = "/admin"
    upstream = "app"
"#;

#[test]
fn the_most_specific_route_wins_by_host_then_by_whole_segments() {
    let gateway = Gateway::start(Upstream::nowhere(), ANSWERS);
    for (host, target, route) in [
        ("gateway.test", "/", "root"),
        ("gateway.test", "/api", "api"),
        ("gateway.test", "/api/", "api"),
        ("gateway.test", "/api/x", "api"),
        ("gateway.test", "/api?x=/api/v2", "api"),
        ("gateway.test", "/apis", "root"),
        ("gateway.test", "/API", "root"),
        ("gateway.test", "/x/api", "root"),
        ("gateway.test", "/api/v2", "v2"),
        ("gateway.test", "/api/v2/x", "v2"),
        ("gateway.test", "/api/v20", "api"),
        ("example.com", "/", "example"),
        ("EXAMPLE.Com:8080", "/", "example"),
        ("example.com", "/api/v2", "example-api"),
        ("a.example.com", "/api", "wild"),
        ("a.b.example.com", "/", "wild"),
        ("notexample.com", "/", "root"),
        ("example.com.evil.test", "/", "root"),
    ] {
        assert_eq!(gateway.ask(&Request::get(target).host(host)).text(), route, "{host}{target}");
    }
}

#[test]
fn a_path_that_could_be_read_as_another_route_is_refused() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), PUBLIC_AND_ADMIN);
    for target in [
        "/public/../admin",
        "/public/./../admin/x",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "/public/..%2fadmin",
        "/public%2f..%2fadmin",
        "/public/..%5cadmin",
        "/public\\..\\admin",
        "/public/..\\admin",
        "//admin",
        "/.//admin",
        "/./admin",
        "/%2fadmin",
        "/%61dmin",
        "/\\admin",
        "/%5cadmin",
        "/public;x/..;/admin",
        "/public/..;/admin",
        "/;/admin",
        "/admin;x",
        "/admin%3bx",
        "/admin/..",
        "/admin/../public",
        "/admin%2f",
        "/x/..//..//admin",
    ] {
        let response = gateway.ask(&Request::get(target));
        response.expect(400, "bad_request");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_path_with_one_meaning_is_forwarded_byte_for_byte() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), PUBLIC_AND_ADMIN);
    let targets = [
        "/public/a%2fb%2Fc",
        "/public/@scope%2fpackage",
        "/public/a//b",
        "/public/a;v=1/b",
        "/public/%7Euser/%e2%82%ac",
        "/public/a/./b",
        "/public/a/../b",
        "/public/a\\b",
        "/public/?a=/../admin&b=%zz&&c",
        "/public/!$&'()*+,=:@-._~",
        "/public?",
    ];
    for target in targets {
        let before = upstream.requests().len();
        assert_eq!(gateway.ask(&Request::get(target)).status, 200, "{target}");
        assert_eq!(upstream.requests()[before].target, target);
    }
}

#[test]
fn control_characters_and_broken_escapes_are_refused() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), PUBLIC_AND_ADMIN);
    for target in ["/public/%", "/public/%2", "/public/%zz", "/public/%00", "/public/%0d%0aX:1", "/public/\x01", "/public/\x7f"] {
        let status = gateway.ask(&Request::get(target)).status;
        assert_eq!(status, 400, "{target:?}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn nothing_but_the_path_decides_whether_a_key_is_needed() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), PUBLIC_AND_ADMIN);
    for request in [
        Request::get("/admin?/public"),
        Request::get("/admin?x=/public#/public"),
        Request::new("OPTIONS", "/admin"),
        Request::new("DELETE", "/admin"),
        Request::new("PUBLIC", "/admin"),
        Request::get("/admin").header("X-Original-URL", "/public"),
        Request::get("/admin").header("X-Rewrite-URL", "/public"),
        Request::get("/admin").header("X-Forwarded-Prefix", "/public"),
        Request::get("/admin").header("X-HTTP-Method-Override", "OPTIONS"),
        Request::get("/public").header("X-Original-URL", "/admin").header("X-Needs", "no key"),
    ] {
        let public = request.bytes().starts_with(b"GET /public");
        let response = gateway.ask(&request);
        let refused = response.status == 401 || response.status == 400;
        assert_eq!(refused, !public, "{request:?}: {response:?}");
    }
    assert_eq!(upstream.requests().len(), 1);
}
