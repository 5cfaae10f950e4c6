//! A key's hour: exactly as many requests as it may, whatever happens to the gateway.

use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;

use crate::support::http2::{Http2, empty, get};
use crate::support::{Gateway, Key, Request, Response, Upstream, eventually};

const HOUR: u64 = 3600;

/// Seconds to the next full hour. Near the end of one, waits for the next: a count must not begin anew within a test.
fn left_of_the_hour() -> u64 {
    let left = || HOUR - clock::now().as_secs() % HOUR;
    while left() < 20 {
        thread::sleep(Duration::from_secs(1));
    }
    left()
}

fn number(response: &Response, name: &str) -> u64 {
    response.header(name).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number in {name}: {response:?}"))
}

fn admitted(gateway: &Gateway, key: &Key, requests: usize) -> usize {
    let mut connection = gateway.connect();
    (0..requests).filter(|_| connection.ask(&Request::get("/").key(key)).status == 200).count()
}

#[test]
fn of_many_requests_at_once_exactly_as_many_as_the_limit_pass() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "150"]);
    let passed: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| admitted(&gateway, &key, 40))).collect();
        clients.into_iter().map(|client| client.join().expect("no client panics")).sum()
    });
    assert_eq!(passed, 150);
    assert_eq!(upstream.requests().len(), 150);
}

#[test]
fn streams_of_one_connection_are_counted_like_connections() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "150"]);
    let requests = (0..400).map(|_| empty(get("/").header("x-api-key", &key.secret))).collect();
    let answers = Http2::to(gateway.address()).ask_all(requests);
    let statuses: Vec<u16> = answers.into_iter().map(|answer| answer.expect("a whole answer").status).collect();
    let count = |wanted: u16| statuses.iter().filter(|&&status| status == wanted).count();
    assert_eq!((count(200), count(429)), (150, 250));
    assert_eq!(upstream.requests().len(), 150);
}

#[test]
fn all_three_families_of_headers_tell_the_exact_rest() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "1000"]);
    let left = left_of_the_hour();
    let reset = (clock::now().as_secs() / HOUR + 1) * HOUR;
    for used in 1..=30 {
        let response = gateway.ask(&Request::get("/").key(&key));
        let remaining = 1000 - used;
        assert_eq!(number(&response, "x-ratelimit-limit"), 1000);
        assert_eq!(number(&response, "x-ratelimit-remaining"), remaining);
        assert_eq!(number(&response, "x-ratelimit-reset"), reset);
        assert_eq!(response.header("ratelimit-policy"), Some("\"hour\";q=1000;w=3600"));
        let draft = response.header("ratelimit").expect("the draft's header is there");
        let seconds = draft.strip_prefix(&format!("\"hour\";r={remaining};t=")).unwrap_or_else(|| panic!("{draft}"));
        let seconds: u64 = seconds.parse().expect("whole seconds");
        assert!((left.saturating_sub(10)..=left).contains(&seconds), "{draft}, {left} s left");
    }
}

#[test]
fn a_spent_limit_says_when_to_come_back() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "3"]);
    let left = left_of_the_hour();
    assert_eq!(admitted(&gateway, &key, 3), 3);
    let refused = gateway.ask(&Request::get("/").key(&key));
    refused.expect(429, "rate_limited");
    assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
    let seconds = number(&refused, "retry-after");
    assert!((left.saturating_sub(10)..=left).contains(&seconds), "{seconds} s, {left} s left");
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn a_refused_request_costs_nothing() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let routes = r#"
        client_ip.trusted_proxies = ["127.0.0.1"]
        [[routes]]
        path = "/"
        upstream = "app"
        [[routes]]
        path = "/scoped"
        upstream = "app"
        scopes = ["more"]
    "#;
    let gateway = Gateway::start(upstream.address(), routes);
    let key = gateway.create_key(&["--rate-limit", "5", "--allowed-ip", "127.0.0.1"]);
    assert_eq!(admitted(&gateway, &key, 2), 2);
    for _ in 0..10 {
        assert_eq!(gateway.ask(&Request::get("/scoped").key(&key)).status, 403);
        assert_eq!(gateway.ask(&Request::get("/").key(&key).header("X-Forwarded-For", "203.0.113.7")).status, 403);
    }
    assert_eq!(admitted(&gateway, &key, 10), 3);
    eventually("`limits show` tells the truth", || gateway.cli_json(&["limits", "show", &key.id])["used"] == 5);
}

/// Its length is told in its head, so it is refused before it is counted.
#[test]
fn a_request_refused_for_its_told_length_costs_nothing_and_leaves_no_usage() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "server.max_body_bytes = \"1KiB\"");
    let key = gateway.create_key(&["--rate-limit", "2"]);
    for _ in 0..5 {
        gateway.ask(&Request::post("/", vec![b'x'; 1025]).key(&key)).expect(413, "body_too_large");
    }
    assert_eq!(admitted(&gateway, &key, 5), 2);
    eventually("what was admitted is written", || gateway.metric("gateway_usage_written_total") == 2);
    assert_eq!(gateway.metric("gateway_usage_recorded_total"), 2);
    let rows = "SELECT count(*), sum(status_code = 200) FROM api_key_usage";
    let counts = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?));
    assert_eq!(gateway.database().query_row(rows, [], counts).expect("the rows can be counted"), (2, 2));
}

#[test]
fn the_count_survives_an_orderly_end() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "400"]);
    assert_eq!(admitted(&gateway, &key, 130), 130);
    gateway.terminate();
    assert!(gateway.wait().success());
    gateway.run();
    assert_eq!(admitted(&gateway, &key, 300), 270);
}

#[test]
fn the_count_survives_a_kill() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "400"]);
    assert_eq!(admitted(&gateway, &key, 130), 130);
    gateway.kill();
    gateway.run();
    assert_eq!(admitted(&gateway, &key, 300), 270);
}

#[test]
fn a_new_secret_goes_on_with_the_old_count() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let old = gateway.create_key(&["--rate-limit", "10"]);
    assert_eq!(admitted(&gateway, &old, 4), 4);
    let rotated = gateway.cli_json(&["keys", "rotate", &old.id]);
    let new = Key { secret: rotated["key"].as_str().expect("a text").to_owned(), id: old.id.clone() };
    assert_eq!(admitted(&gateway, &new, 3), 3);
    assert_eq!(admitted(&gateway, &old, 2), 2);
    assert_eq!(admitted(&gateway, &new, 5), 1);
    assert_eq!(admitted(&gateway, &old, 1), 0);
}

#[test]
fn keys_do_not_share_their_hours() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let [one, other] = [(); 2].map(|()| gateway.create_key(&["--rate-limit", "3"]));
    assert_eq!(admitted(&gateway, &one, 5), 3);
    assert_eq!(admitted(&gateway, &other, 5), 3);
}

#[test]
fn limits_are_shown_true_and_reset_at_once() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "500"]);
    left_of_the_hour();
    let reset = (clock::now().as_secs() / HOUR + 1) * HOUR;
    assert_eq!(admitted(&gateway, &key, 37), 37);
    eventually("`limits show` tells the truth", || {
        gateway.cli_json(&["limits", "show", &key.id])
            == serde_json::json!({ "limit": 500, "used": 37, "remaining": 463, "reset": reset })
    });
    assert!(gateway.cli(&["limits", "reset", &key.id]).status.success());
    eventually("the gateway begins anew", || number(&gateway.ask(&Request::get("/").key(&key)), "x-ratelimit-remaining") > 463);
}

#[test]
fn a_reset_lets_a_spent_key_in_again() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "2"]);
    assert_eq!(admitted(&gateway, &key, 3), 2);
    assert!(gateway.cli(&["limits", "reset", &key.id]).status.success());
    eventually("the key is let in", || admitted(&gateway, &key, 1) == 1);
    assert_eq!(admitted(&gateway, &key, 3), 1);
}

#[test]
fn a_changed_limit_counts_at_once_for_what_was_used_before() {
    left_of_the_hour();
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "4"]);
    assert_eq!(admitted(&gateway, &key, 6), 4);
    assert!(gateway.cli(&["keys", "update", &key.id, "--rate-limit", "6"]).status.success());
    eventually("the raised limit admits", || admitted(&gateway, &key, 1) == 1);
    assert_eq!(admitted(&gateway, &key, 3), 1);
    assert!(gateway.cli(&["keys", "update", &key.id, "--rate-limit", "2"]).status.success());
    eventually("the lowered limit is told", || {
        gateway.ask(&Request::get("/").key(&key)).header("x-ratelimit-limit") == Some("2")
    });
    assert_eq!(admitted(&gateway, &key, 3), 0);
}
