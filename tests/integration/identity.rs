//! Who a request is from is said by the gateway alone.

use crate::support::upstream::Seen;
use crate::support::{Gateway, Request, Upstream};

/// Every way an app might read one of these names as the same.
const FORGED: [&str; 10] = [
    "X-User-ID",
    "x-user-id",
    "X_User_ID",
    "X.User.ID",
    "x_user-id",
    "X-API-Key-ID",
    "X-API-KEY-NAME",
    "x_api_key_environment",
    "X.Api.Key.Scopes",
    "X-Api_Key-Scopes",
];

fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// Values of all headers that an upstream might read as `name`.
fn read_as(seen: &Seen, name: &str) -> Vec<String> {
    seen.headers.0.iter().filter(|(other, _)| folded(other) == name).map(|(_, value)| value.clone()).collect()
}

#[test]
fn the_upstream_is_told_who_asks() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--environment", "test", "--scope", "read", "--scope", "write"]);
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 200);
    let seen = upstream.request();
    for (name, value) in [
        ("x-user-id", "ada"),
        ("x-api-key-id", &key.id),
        ("x-api-key-name", "laptop"),
        ("x-api-key-environment", "test"),
        ("x-api-key-scopes", "read write"),
    ] {
        assert_eq!(read_as(&seen, name), [value], "{name}");
    }
}

#[test]
fn a_forged_identity_never_passes_in_any_spelling_on_any_route() {
    let upstream = Upstream::ok();
    let routes = r#"
        [[routes]]
        path = "/"
        upstream = "app"
        [[routes]]
        path = "/optional"
        upstream = "app"
        auth = "optional"
        [[routes]]
        path = "/none"
        upstream = "app"
        auth = "none"
    "#;
    let gateway = Gateway::start(upstream.address(), routes);
    let key = gateway.create_key(&[]);
    for request in
        [Request::get("/").key(&key), Request::get("/optional"), Request::get("/none"), Request::get("/none").key(&key)]
    {
        let forged = FORGED.iter().fold(request, |request, name| request.header(name, "mallory"));
        assert_eq!(gateway.ask(&forged).status, 200);
    }
    for seen in upstream.requests() {
        assert!(!String::from_utf8_lossy(&seen.raw_head).contains("mallory"), "{seen:?}");
        let expected: &[&str] = if seen.target == "/" { &["ada"] } else { &[] };
        assert_eq!(read_as(&seen, "x-user-id"), expected, "{}", seen.target);
    }
}

#[test]
fn a_forged_identity_does_not_pass_as_a_trailer() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let request = Request::new("POST", "/")
        .key(&key)
        .header("Transfer-Encoding", "chunked")
        .header("Trailer", "X-User-ID, x_user_id, X-Sum");
    let mut connection = gateway.connect();
    connection.send(request.bytes());
    connection.send("2\r\nhi\r\n0\r\nX-User-ID: mallory\r\nx_user_id: mallory\r\nX-Sum: 7\r\n\r\n");
    assert_eq!(connection.response().status, 200);
    let seen = upstream.request();
    assert_eq!((seen.body.as_slice(), seen.complete), (b"hi".as_slice(), true));
    assert_eq!(read_as(&seen, "x-user-id"), ["ada"]);
    assert!(!seen.trailers.0.iter().any(|(_, value)| value == "mallory"), "{:?}", seen.trailers);
    assert_eq!(seen.trailers.get("x-sum"), Some("7"));
}

#[test]
fn connection_cannot_remove_what_the_gateway_adds() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let names = "x-user-id, X-API-Key-ID, x-forwarded-for, x-real-ip, x-request-id, host";
    let response = gateway.ask(&Request::get("/").key(&key).header("Connection", names));
    let seen = upstream.request();
    assert_eq!(response.status, 200);
    assert_eq!(read_as(&seen, "x-user-id"), ["ada"]);
    assert_eq!(read_as(&seen, "x-api-key-id"), [key.id.as_str()]);
    for name in ["x-forwarded-for", "x-real-ip", "x-request-id", "host"] {
        assert_eq!(seen.headers.all(name).len(), 1, "{name}: {seen:?}");
    }
}

#[test]
fn names_that_fold_to_nothing_of_ours_pass() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let request = Request::get("/").key(&key).header("grpc_meta.data", "1").header("X-User-IDs", "2").header("X-User", "3");
    assert_eq!(gateway.ask(&request).status, 200);
    let seen = upstream.request();
    assert_eq!(["grpc_meta.data", "X-User-IDs", "X-User"].map(|name| seen.headers.get(name)), [Some("1"), Some("2"), Some("3")]);
}

#[test]
fn a_value_that_is_no_plain_text_is_percent_encoded() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let created = gateway.cli_json(&["keys", "create", "--user", "zoë", "--name", "Büro 100%"]);
    let secret = created["key"].as_str().expect("a text");
    assert_eq!(gateway.ask(&Request::get("/").header("X-API-Key", secret)).status, 200);
    let seen = upstream.request();
    assert_eq!(read_as(&seen, "x-user-id"), ["zo%C3%AB"]);
    assert_eq!(read_as(&seen, "x-api-key-name"), ["B%C3%BCro%20100%25"]);
}

#[test]
fn names_can_be_changed_and_left_out() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "[identity_headers]\nuser_id = \"X-Caller\"\nkey_name = \"\"");
    let key = gateway.create_key(&[]);
    let request = Request::get("/").key(&key).header("X-Caller", "mallory").header("x_caller", "mallory");
    assert_eq!(gateway.ask(&request).status, 200);
    let seen = upstream.request();
    assert_eq!(read_as(&seen, "x-caller"), ["ada"]);
    assert_eq!(read_as(&seen, "x-user-id"), Vec::<String>::new());
    assert_eq!(read_as(&seen, "x-api-key-name"), Vec::<String>::new());
    assert_eq!(read_as(&seen, "x-api-key-id"), [key.id]);
}

#[test]
fn the_request_id_is_kept_when_it_is_sane_and_else_made() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let long = "x".repeat(1000);
    let ids = [Some("order-66"), None, Some(""), Some("two words"), Some("\"<script>"), Some(long.as_str())];
    for (number, id) in ids.into_iter().enumerate() {
        let request = Request::get("/").key(&key);
        let request = if let Some(id) = id { request.header("X-Request-ID", id) } else { request };
        let answered = gateway.ask(&request).header("x-request-id").map(str::to_owned);
        let seen = upstream.requests()[number].clone();
        assert_eq!(seen.headers.all("x-request-id").len(), 1, "{id:?}");
        assert_eq!(answered.as_deref(), seen.headers.get("x-request-id"), "{id:?}");
        assert_eq!(answered.as_deref() == id, number == 0, "{id:?} became {answered:?}");
    }
}

#[test]
fn the_forwarding_headers_say_where_the_request_came_from() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let forged = ["X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP"];
    let request =
        forged.iter().fold(Request::get("/").host("shop.test:8080").key(&key), |request, name| request.header(name, "forged"));
    assert_eq!(gateway.ask(&request.header("traceparent", trace)).status, 200);
    let seen = upstream.request();
    for (name, value) in [
        ("host", "shop.test:8080"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test:8080"),
        ("x-real-ip", "127.0.0.1"),
        ("traceparent", trace),
    ] {
        assert_eq!(seen.headers.all(name), [value], "{name}");
    }
}
