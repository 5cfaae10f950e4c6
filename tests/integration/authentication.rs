//! Who is let in, and what everybody else is told.

use hokusai_gateway::model::api_key::{ApiKey, Environment};
use serde_json::Value;

use crate::support::{Gateway, Key, Request, Response, Upstream};

const ALL_SOURCES: &str = r#"keys.accept = ["bearer", "apikey", "x-api-key", "query"]"#;

/// A key in good form that no store knows.
fn made_up() -> Key {
    let secret = ApiKey::mint("hk", Environment::Production).expect("the system has randomness").expose().to_owned();
    Key { secret, id: String::new() }
}

fn challenge(response: &Response) -> &str {
    response.header("www-authenticate").unwrap_or_else(|| panic!("no challenge: {response:?}"))
}

#[test]
fn a_good_key_passes_from_each_of_the_four_sources() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ALL_SOURCES);
    let key = gateway.create_key(&[]).secret;
    for (name, value) in [
        ("Authorization", format!("Bearer {key}")),
        ("Authorization", format!("bEaReR {key}")),
        ("Authorization", format!("ApiKey {key}")),
        ("Authorization", format!("APIKEY {key}")),
        ("X-API-Key", key.clone()),
        ("x-api-key", key.clone()),
    ] {
        assert_eq!(gateway.ask(&Request::get("/").header(name, &value)).status, 200, "{name}: {value}");
    }
    assert_eq!(gateway.ask(&Request::get(&format!("/?api_key={key}"))).status, 200);
    assert_eq!(upstream.requests().len(), 7);
}

#[test]
fn a_request_without_a_key_is_asked_for_one_and_goes_no_further() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]).secret;
    for request in [
        Request::get("/"),
        Request::get("/").header("Authorization", "Basic YTpi"),
        Request::get(&format!("/?api_key={key}")),
        Request::post("/", "body"),
    ] {
        let response = gateway.ask(&request);
        response.expect(401, "missing_key");
        assert!(challenge(&response).starts_with("Bearer realm=\""), "{response:?}");
        assert!(!challenge(&response).contains("error"), "{response:?}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn nobody_learns_from_the_answer_why_a_key_is_not_good() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let good = gateway.create_key(&[]);
    let [disabled, revoked, expired] = [(); 3].map(|()| gateway.create_key(&[]));
    assert!(gateway.cli(&["keys", "update", &disabled.id, "--disable"]).status.success());
    assert!(gateway.cli(&["keys", "revoke", &revoked.id]).status.success());
    let past = "UPDATE api_keys SET expires_at = '2020-01-01 00:00:00.000' WHERE key_id = ?1";
    assert_eq!(gateway.database().execute(past, [&expired.id]).expect("plain SQL works"), 1);
    let longer = format!("{}A", good.secret);
    let shorter = &good.secret[..good.secret.len() - 1];
    let mistyped = good.secret.to_ascii_uppercase().replacen("HK_LIVE_", "hk_live_", 1);
    let answers: Vec<String> = [&made_up(), &disabled, &revoked, &expired]
        .map(|key| key.secret.as_str())
        .into_iter()
        .chain([longer.as_str(), shorter, &mistyped, "nonsense", "?", "a-key-brought-from-elsewhere"])
        .map(|secret| gateway.ask(&Request::get("/").header("Authorization", &format!("Bearer {secret}"))))
        .map(|response| told(&response))
        .collect();
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(gateway.ask(&Request::get("/").key(&good)).status, 200);
    assert_eq!(upstream.requests().len(), 1);
}

/// All that a refusal says but its own id.
fn told(response: &Response) -> String {
    response.expect(401, "invalid_key");
    let challenge = challenge(response);
    assert!(challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""), "{challenge}");
    let id = response.header("x-request-id").expect("every answer has an id");
    let mut headers = response.headers.0.clone();
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
    format!("{} {headers:?} {}", response.status, response.text()).replace(id, "ID")
}

#[test]
fn two_different_keys_are_refused_and_the_same_one_twice_is_not() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ALL_SOURCES);
    let [one, other] = [(); 2].map(|()| gateway.create_key(&[]).secret);
    for request in [
        Request::get("/").header("Authorization", &format!("Bearer {one}")).header("X-API-Key", &other),
        Request::get("/").header("Authorization", &format!("Bearer {one}")).header("Authorization", &format!("ApiKey {other}")),
        Request::get("/").header("X-API-Key", &one).header("X-API-Key", &other),
        Request::get(&format!("/?api_key={one}&api_key={other}")),
        Request::get(&format!("/?api_key={one}")).header("X-API-Key", &other),
        Request::get("/").header("Authorization", &format!("Bearer {one}")).header("X-API-Key", "rubbish"),
    ] {
        gateway.ask(&request).expect(400, "ambiguous_key");
    }
    assert_eq!(upstream.requests().len(), 0);
    let same = Request::get("/").header("Authorization", &format!("Bearer {one}")).header("X-API-Key", &one);
    assert_eq!(gateway.ask(&same).status, 200);
}

#[test]
fn only_the_sources_a_route_accepts_are_read() {
    let upstream = Upstream::ok();
    let routes = r#"
        [[routes]]
        path = "/"
        upstream = "app"
        accept = ["x-api-key"]
    "#;
    let gateway = Gateway::start(upstream.address(), routes);
    let key = gateway.create_key(&[]);
    gateway.ask(&Request::get("/").key(&key)).expect(401, "missing_key");
    let own_login = Request::get("/").header("X-API-Key", &key.secret).header("Authorization", "Bearer the-apps-own-token");
    assert_eq!(gateway.ask(&own_login).status, 200);
    let seen = upstream.request();
    assert_eq!(seen.headers.get("authorization"), Some("Bearer the-apps-own-token"));
    assert!(!seen.headers.has("x-api-key"));
}

#[test]
fn an_optional_route_takes_no_key_or_a_good_one() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "routes = [{ path = \"/\", upstream = \"app\", auth = \"optional\" }]");
    let key = gateway.create_key(&[]);
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 200);
    gateway.ask(&Request::get("/").key(&made_up())).expect(401, "invalid_key");
    let users: Vec<Option<String>> =
        upstream.requests().iter().map(|seen| seen.headers.get("x-user-id").map(str::to_owned)).collect();
    assert_eq!(users, [None, Some("ada".to_owned())]);
}

#[test]
fn a_route_without_authentication_asks_nobody() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]");
    let key = gateway.create_key(&[]);
    for request in [Request::get("/"), Request::get("/").key(&key), Request::get("/").key(&made_up())] {
        assert_eq!(gateway.ask(&request).status, 200);
    }
    for seen in upstream.requests() {
        assert!(!seen.headers.has("x-user-id"), "{seen:?}");
        assert!(!seen.headers.has("authorization"), "what looks like ours is cut out: {seen:?}");
    }
}

#[test]
fn all_scopes_of_a_route_are_needed() {
    let upstream = Upstream::ok();
    let gateway =
        Gateway::start(upstream.address(), "routes = [{ path = \"/\", upstream = \"app\", scopes = [\"read\", \"write\"] }]");
    let both = gateway.create_key(&["--scope", "write", "--scope", "read", "--scope", "more"]);
    let one = gateway.create_key(&["--scope", "read"]);
    assert_eq!(gateway.ask(&Request::get("/").key(&both)).status, 200);
    let refused = gateway.ask(&Request::get("/").key(&one));
    refused.expect(403, "insufficient_scope");
    assert!(challenge(&refused).contains("error=\"insufficient_scope\""), "{refused:?}");
    assert!(challenge(&refused).contains("scope=\"read write\""), "{refused:?}");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_refusal_is_a_problem_document_under_the_requests_id() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let response = gateway.ask(&Request::get("/").header("X-Request-ID", "order-66"));
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    assert_eq!(response.header("x-request-id"), Some("order-66"));
    let problem: Value = serde_json::from_slice(&response.body).expect("JSON");
    for field in ["type", "title", "detail"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
    }
    assert_eq!(
        (&problem["status"], &problem["code"], &problem["request_id"]),
        (&401.into(), &"missing_key".into(), &"order-66".into())
    );
}

#[test]
fn a_refused_head_request_gets_no_body() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let mut connection = gateway.connect();
    let refused = connection.ask(&Request::new("HEAD", "/"));
    assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/problem+json")));
    // Bytes of a body would stand before the next status line.
    assert_eq!(connection.ask(&Request::get("/").key(&key)).status, 200);
}

#[test]
fn hostile_credentials_are_the_clients_fault() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ALL_SOURCES);
    let long = "k".repeat(20_000);
    for value in ["", "Bearer", "Bearer ", "Bearer a b", "Bearer \u{e9}\u{e8}", "Bearer ' OR 1=1 --", "Bearer %00", &long] {
        let response = gateway.ask(&Request::get("/").header("Authorization", value));
        assert!((400..500).contains(&response.status), "{value}: {response:?}");
    }
    for query in ["api_key=", "api_key", "api_key=%", "api_key=%ff%00", "api_key=a&api_key=b&api_key=c"] {
        let response = gateway.ask(&Request::get(&format!("/?{query}")));
        assert!((400..500).contains(&response.status), "{query}: {response:?}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_request_that_no_route_wants_is_not_found_whatever_its_key() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "routes = [{ path = \"/app\", upstream = \"app\" }]");
    let key = gateway.create_key(&[]);
    gateway.ask(&Request::get("/")).expect(404, "no_route");
    gateway.ask(&Request::get("/other").key(&key)).expect(404, "no_route");
    gateway.ask(&Request::get("/application").key(&key)).expect(404, "no_route");
}
