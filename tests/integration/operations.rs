//! What an operator sees: health, metrics, logs, and a store that has a bad day.

use std::fs;

use crate::support::{Gateway, Request, Upstream, eventually};

#[test]
fn health_and_readiness_are_told_on_the_admin_door_and_where_configured_on_the_other() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "server.health_path = \"/alive\"");
    assert_eq!(gateway.ask_admin("/healthz").status, 200);
    assert_eq!(gateway.ask_admin("/readyz").status, 200);
    assert_eq!(gateway.ask_admin("/nothing").status, 404);
    assert_eq!(gateway.ask(&Request::get("/alive")).status, 200);
    assert_eq!(gateway.ask(&Request::get("/healthz")).status, 401);
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn every_request_is_counted_once_where_it_belongs() {
    let upstream = Upstream::start(|exchange| match exchange.seen.target.as_str() {
        "/gone" => exchange.close(),
        _ => exchange.answer(200, &[], "ok"),
    });
    let mut gateway = Gateway::stopped(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "5"]);
    let disabled = gateway.create_key(&[]);
    assert!(gateway.cli(&["keys", "update", &disabled.id, "--disable"]).status.success());
    gateway.run();
    let strange = Request::new("BREW", "/").key(&key);
    for request in [Request::get("/").key(&key), Request::get("/").key(&key), Request::post("/", "x").key(&key), strange] {
        assert_eq!(gateway.ask(&request).status, 200);
    }
    assert_eq!(gateway.ask(&Request::post("/gone", "x").key(&key)).status, 502);
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 429);
    assert_eq!(gateway.ask(&Request::get("/")).status, 401);
    assert_eq!(gateway.ask(&Request::get("/").key(&disabled)).status, 401);
    assert_eq!(gateway.ask(&Request::get("/").header("X-API-Key", "of-somebody-else-entirely")).status, 401);
    eventually("all is written", || gateway.metric("gateway_usage_written_total") == 5);
    let metrics = gateway.metrics();
    let series = |name: &str, labels: &[&str]| -> u64 {
        let matches = |series: &&String| series.starts_with(name) && labels.iter().all(|label| series.contains(label));
        metrics.iter().filter(|(series, _)| matches(series)).map(|(_, value)| value).sum()
    };
    for (name, labels, value) in [
        ("gateway_requests_total{", vec!["method=\"GET\"", "status=\"200\""], 2),
        ("gateway_requests_total{", vec!["method=\"POST\"", "status=\"200\""], 1),
        ("gateway_requests_total{", vec!["method=\"other\"", "status=\"200\""], 1),
        ("gateway_requests_total{", vec!["method=\"POST\"", "status=\"502\""], 1),
        ("gateway_requests_total{", vec!["method=\"GET\"", "status=\"429\""], 1),
        ("gateway_requests_total{", vec!["method=\"GET\"", "status=\"401\""], 3),
        ("gateway_requests_total{", vec![], 9),
        ("gateway_request_duration_seconds_count", vec![], 9),
        ("gateway_overhead_seconds_count", vec![], 9),
        ("gateway_auth_total{", vec!["result=\"ok\""], 5),
        ("gateway_auth_total{", vec!["result=\"limited\""], 1),
        ("gateway_auth_total{", vec!["result=\"missing\""], 1),
        ("gateway_auth_total{", vec!["result=\"inactive\""], 1),
        ("gateway_auth_total{", vec!["result=\"unknown\""], 1),
        ("gateway_key_lookups_total{", vec!["layer=\"memory\"", "result=\"hit\""], 5),
        ("gateway_key_lookups_total{", vec!["layer=\"store\"", "result=\"hit\""], 2),
        ("gateway_upstream_requests_total{", vec!["upstream=\"app\""], 5),
        ("gateway_upstream_requests_total{", vec!["upstream=\"app\"", "result=\"ok\""], 4),
        ("gateway_requests_in_flight", vec![], 0),
        ("gateway_usage_recorded_total", vec![], 5),
        ("gateway_usage_spooled", vec![], 0),
        ("gateway_usage_dropped_total", vec![], 0),
        ("gateway_store_up", vec![], 1),
        ("gateway_build_info{", vec!["version=\""], 1),
    ] {
        assert_eq!(series(name, &labels), value, "{name} {labels:?}: {metrics:#?}");
    }
}

#[test]
fn nobody_is_named_in_the_metrics() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    assert_eq!(gateway.ask(&Request::get("/a-path-of-its-own?with=query").key(&key)).status, 200);
    let response = gateway.ask_admin("/metrics");
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{response:?}");
    for private in [key.secret.as_str(), &key.id, "ada", "laptop", "a-path-of-its-own"] {
        assert!(!response.text().contains(private), "{private}");
    }
}

#[test]
fn each_request_is_one_line_of_the_access_log() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    for request in [Request::get("/one?q=1").key(&key), Request::get("/two")] {
        gateway.ask(&request.header("X-Request-ID", "find-me"));
    }
    gateway.terminate();
    assert!(gateway.wait().success());
    let log = gateway.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("find-me")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains("/one") && lines[0].contains("200") && lines[0].contains(&key.id), "{}", lines[0]);
    assert!(lines[1].contains("/two") && lines[1].contains("401"), "{}", lines[1]);
    assert!(lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines:?}");
}

#[test]
fn the_access_log_can_be_switched_off() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), "log.access = false");
    gateway.ask(&Request::get("/").header("X-Request-ID", "find-me"));
    gateway.terminate();
    assert!(gateway.wait().success());
    assert!(!gateway.log().contains("find-me"));
}

/// "Could not ask" must not be taken for "unknown": clients throw a key away when they are told it is not good.
#[test]
fn while_the_store_cannot_be_asked_known_keys_go_on_and_others_are_asked_to_wait() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), "");
    let [known, unknown] = [(); 2].map(|()| gateway.create_key(&[]));
    gateway.run();
    assert_eq!(gateway.ask(&Request::get("/").key(&known)).status, 200);
    gateway.hide_keys();
    for _ in 0..5 {
        let served = gateway.ask(&Request::get("/").key(&known));
        assert_eq!(served.status, 200, "{served:?}");
        let refused = gateway.ask(&Request::get("/").key(&unknown));
        refused.expect(503, "store_unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    gateway.show_keys();
    eventually("the store is asked again", || gateway.ask(&Request::get("/").key(&unknown)).status == 200);
}

/// What was known long ago is not known any more.
#[test]
fn a_known_key_outlives_an_outage_only_so_long() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), "keys.cache_ttl = \"100ms\"\nkeys.stale_if_error = \"1s\"");
    let known = gateway.create_key(&[]);
    gateway.run();
    assert_eq!(gateway.ask(&Request::get("/").key(&known)).status, 200);
    gateway.hide_keys();
    assert_eq!(gateway.ask(&Request::get("/").key(&known)).status, 200);
    eventually("the key is not served any more", || gateway.ask(&Request::get("/").key(&known)).code() == "store_unavailable");
    gateway.show_keys();
    eventually("the store is asked again", || gateway.ask(&Request::get("/").key(&known)).status == 200);
}

#[test]
fn a_locked_database_stops_no_known_key_and_no_limit() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "20"]);
    gateway.run();
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/").key(&key)).status, 200);
    let database = gateway.database();
    database.execute_batch("BEGIN EXCLUSIVE").expect("the database can be locked");
    let passed = (0..30).filter(|_| connection.ask(&Request::get("/").key(&key)).status == 200).count();
    assert_eq!(passed, 19);
    database.execute_batch("COMMIT").expect("the lock can be given up");
}

#[test]
fn a_store_that_is_not_there_at_the_start_is_waited_for() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), "store.url = \"sqlite:later/gateway.db\"");
    gateway.run();
    gateway.ask(&Request::get("/").header("X-API-Key", "nobody-knows-me-yet")).expect(503, "store_unavailable");
    assert_eq!((gateway.metric("gateway_store_up"), gateway.ask_admin("/readyz").status), (0, 200));
    fs::create_dir(gateway.folder().join("later")).expect("the folder can be written to");
    let key = gateway.create_key(&[]);
    eventually("the store is found", || gateway.ask(&Request::get("/").key(&key)).status == 200);
    eventually("the store is told to be up", || gateway.metric("gateway_store_up") == 1);
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let upstream = Upstream::ok();
    let taken = format!("server.listen = [\"{}\"]", upstream.address());
    let output = Gateway::stopped(upstream.address(), &taken).cli(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&upstream.address().to_string()), "{said}");
}

#[test]
fn two_gateways_do_not_share_a_spool() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let output = gateway.cli(&["serve"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("spool"));
}

#[test]
fn a_wrong_configuration_is_told_before_anything_starts() {
    let gateway = Gateway::stopped(Upstream::nowhere(), "server.drain_tiemout = \"5s\"\nkeys.cache_ttl = \"300\"");
    for command in ["check", "serve"] {
        let output = gateway.cli(&[command]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("drain_tiemout") && said.contains("drain_timeout") && said.contains("keys.cache_ttl"), "{said}");
    }
}
