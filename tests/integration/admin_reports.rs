//! What the admin API tells of limits and usage.

use serde_json::{Value, json};

use crate::support::admin::{call, created, json_of, started, with_key};
use crate::support::{Gateway, Upstream, begin_within_an_hour, eventually};

fn told(gateway: &Gateway, path: &str) -> Value {
    json_of(&call(gateway, "GET", path, &Value::Null), 200)
}

#[test]
fn an_hour_is_told_and_begins_anew_when_it_is_reset() {
    begin_within_an_hour();
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, key_id) = created(&gateway, &json!({ "name": "ci", "rate_limit_per_hour": 2 }));
    let statuses = || [(); 3].map(|()| gateway.ask(&with_key("/", &key)).status);
    assert_eq!(statuses(), [200, 200, 429]);
    let path = format!("/limits/{key_id}");
    eventually("it is told", || told(&gateway, &path)["used"] == 2);
    let hour = told(&gateway, &path);
    assert_eq!((&hour["limit"], &hour["remaining"]), (&json!(2), &json!(0)));
    assert_eq!(hour["reset"].as_u64().map(|seconds| seconds % 3600), Some(0));
    json_of(&call(&gateway, "POST", &format!("{path}/reset"), &Value::Null), 200);
    eventually("requests pass again", || gateway.ask(&with_key("/", &key)).status == 200);
    call(&gateway, "POST", "/limits/key_nobody/reset", &Value::Null).expect(404, "not_found");
}

#[test]
fn usage_is_told_as_the_commands_tell_it() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, key_id) = created(&gateway, &json!({ "name": "ci", "user_id": "ada" }));
    for path in ["/a", "/a", "/b?x=1"] {
        assert_eq!(gateway.ask(&with_key(path, &key)).status, 200);
    }
    eventually("it is written", || gateway.metric("gateway_usage_written_total") == 3);
    for (path, command) in [
        ("/usage/top?since=1h&limit=5".to_owned(), vec!["usage", "top", "--since", "1h", "--limit", "5"]),
        (format!("/usage/series?since=2h&every=1h&key_id={key_id}"), vec!["usage", "series", "--since", "2h", "--key", &key_id]),
    ] {
        let answer = told(&gateway, &path);
        assert_eq!(answer, gateway.cli_json(&command), "{path}");
        assert!(answer.to_string().contains("\"request_count\":3"), "{answer}");
    }
    let breakdown = told(&gateway, &format!("/usage/{key_id}"));
    let endpoints: Vec<_> = breakdown["top_endpoints"].as_array().expect("a list").iter().map(|used| &used["endpoint"]).collect();
    assert_eq!((&breakdown["request_count"], endpoints), (&json!(3), vec![&json!("/a"), &json!("/b")]));
}

#[test]
fn rows_are_exported_as_the_command_writes_them() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, key_id) = created(&gateway, &json!({ "name": "ci" }));
    let (other, _) = created(&gateway, &json!({ "name": "other" }));
    for (path, key) in [("/a", &key), ("/a,b\"c?x=1", &key), ("/other", &other)] {
        assert_eq!(gateway.ask(&with_key(path, key)).status, 200);
    }
    eventually("it is written", || gateway.metric("gateway_usage_written_total") == 3);
    for (format, kind) in [("csv", "text/csv; charset=utf-8"), ("jsonl", "application/jsonl")] {
        let answer = call(&gateway, "GET", &format!("/usage/export?format={format}&since=1h&key_id={key_id}"), &Value::Null);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)));
        let command = gateway.cli(&["usage", "export", "--since", "1h", "--format", format, "--key", &key_id]);
        assert_eq!(answer.text(), String::from_utf8_lossy(&command.stdout), "{format}");
        assert_eq!(answer.text().matches(&key_id).count(), 2, "{}", answer.text());
    }
    let all = call(&gateway, "GET", "/usage/export", &Value::Null).text();
    assert_eq!((all.lines().count(), all.matches("/other").count()), (4, 1), "{all}");
    let none = call(&gateway, "GET", "/usage/export?until=2000-01-01T00:00:00Z", &Value::Null).text();
    assert_eq!(none.lines().count(), 1, "the heading alone: {none}");
}

/// A row that cannot be read stands behind more rows than a page has.
#[test]
fn an_export_that_fails_on_its_way_is_cut_and_one_that_fails_at_once_is_refused() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let rows = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 1500)
        INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code)
        SELECT 'key_1', '/', CASE n WHEN 1500 THEN '2026-01-02 no time' ELSE '2026-01-01 00:00:00.000' END, 1, 200 FROM number";
    gateway.database().execute(rows, []).expect("plain SQL works");
    let cut = call(&gateway, "GET", "/usage/export", &Value::Null);
    assert_eq!((cut.status, cut.complete), (200, false), "{cut:?}");
    let refused = call(&gateway, "GET", "/usage/export?since=2026-01-02T00:00:00Z", &Value::Null);
    assert!(refused.status >= 500 && refused.complete, "{refused:?}");
    let whole = call(&gateway, "GET", "/usage/export?until=2026-01-02T00:00:00Z", &Value::Null);
    assert_eq!((whole.complete, whole.text().lines().count()), (true, 1500), "the heading and all but that row");
}

#[test]
fn the_use_of_all_keys_together_is_told() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    for name in ["one", "two"] {
        let (key, _) = created(&gateway, &json!({ "name": name }));
        assert_eq!(gateway.ask(&with_key("/same", &key)).status, 200);
    }
    eventually("it is written", || gateway.metric("gateway_usage_written_total") == 2);
    let used = told(&gateway, "/usage/breakdown?since=1h");
    assert_eq!(used["statuses"], json!([{ "status_code": 200, "request_count": 2 }]));
    assert_eq!((&used["slowest_endpoints"][0]["endpoint"], &used["request_count"]), (&json!("/same"), &json!(2)));
}

#[test]
fn an_owner_is_told_of_their_own_keys_alone() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, own) = created(&gateway, &json!({ "name": "one", "user_id": "ada" }));
    let (_, other) = created(&gateway, &json!({ "name": "two", "user_id": "bob" }));
    let ask = |path: &str| with_key(&format!("/api/v1{path}"), &key).send_to(gateway.admin_address());
    for path in [format!("/usage/{own}"), format!("/limits/{own}")] {
        assert_eq!(ask(&path).status, 200, "{path}");
    }
    for path in [format!("/usage/{other}"), format!("/limits/{other}")] {
        ask(&path).expect(404, "not_found");
    }
    for path in ["/usage/top", "/usage/series", "/usage/breakdown", "/usage/export"] {
        ask(path).expect(403, "forbidden");
    }
}

#[test]
fn a_report_that_cannot_be_is_refused_by_its_name() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    for (path, status, code, named) in [
        ("/usage/top?since=yesterday", 422, "invalid_value", "since"),
        ("/usage/series?every=1ms", 422, "invalid_value", "every"),
        ("/usage/series?since=30d&every=1s", 422, "invalid_value", "every"),
        ("/usage/series?since=2126-01-01T00:00:00Z", 422, "invalid_value", "since"),
        ("/usage/export?until=1h&since=1m", 422, "invalid_value", "since"),
        ("/usage/export?until=never", 422, "invalid_value", "until"),
        ("/usage/export?format=xml", 400, "bad_request", "format"),
        ("/usage/top?limit=many", 400, "bad_request", "limit"),
        ("/usage/top?until=1h", 400, "bad_request", "until"),
    ] {
        let refused = call(&gateway, "GET", path, &Value::Null);
        refused.expect(status, code);
        assert!(refused.text().contains(named), "{path}: {refused:?}");
    }
}

/// The description is made of the code, so what could be wrong is that a call or a credential is missing in it.
#[test]
fn the_api_describes_itself_to_programs() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let description = told(&gateway, "/openapi.json");
    assert!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", description["openapi"]);
    let mut described = Vec::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, call) in methods.as_object().expect("methods") {
            let responses = call["responses"].as_object().expect("responses");
            assert!(call["summary"].is_string() && responses.contains_key("default"), "{method} {path}");
            let names = |parameter: &Value| path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap_or_default()));
            let is_header =
                |parameter: &Value| parameter["name"].as_str().is_some_and(|name| name.starts_with(char::is_uppercase));
            let place = |parameter: &Value| if is_header(parameter) { "header" } else { "query" };
            let placed = |parameter: &Value| parameter["in"] == if names(parameter) { "path" } else { place(parameter) };
            assert!(call["parameters"].as_array().into_iter().flatten().all(placed), "{method} {path}: {}", call["parameters"]);
            let is_told = |response: &Value| response["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(responses.values().all(is_told), "OpenAPI asks for a description: {method} {path}");
            assert!(call["security"].is_array(), "{method} {path}");
            described.push(format!("{method} {path}"));
        }
    }
    let handbook = include_str!("../../docs/admin-api.md");
    for call in &described {
        let (method, path) = call.split_once(' ').expect("two words");
        let told = format!("{} {}", method.to_uppercase(), path.replace("{key_id}", "KEY_ID"));
        assert!(handbook.contains(&told), "docs/admin-api.md does not tell of {told}");
    }
    let told = ["GET", "POST", "PATCH", "DELETE"].map(|method| handbook.matches(&format!("| `{method} /")).count());
    assert_eq!(described.len(), told.iter().sum::<usize>());
    let wanted = &description["components"]["schemas"]["Wanted"]["properties"];
    assert!(wanted["rate_limit_per_hour"].is_object() && wanted["name"].is_object(), "{wanted}");
}
