//! What was used, as it is shown and written out.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::place::{Place, Ran};

/// Rows of this key, each so many minutes ago, with what it was asked for and answered.
fn record(place: &Place, key: &Value, rows: &[(u32, &str, u16, f64)]) {
    let request = "INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code, method, request_id,
                       client_ip, request_bytes, response_bytes)
                   VALUES (?1, ?2, strftime('%Y-%m-%d %H:%M:%f', 'now', ?3), ?4, ?5, 'GET', '=1+1', '203.0.113.7', 10, 100)";
    for (minutes, endpoint, status, milliseconds) in rows {
        let row = (key["key_id"].as_str().unwrap(), endpoint, format!("-{minutes} minutes"), milliseconds, status);
        place.database().execute(request, row).unwrap();
    }
}

#[test]
fn a_series_has_every_step_since_then_and_those_without_requests_are_zero() {
    let place = Place::new();
    let key = place.create(&[]);
    record(&place, &key, &[(0, "/", 200, 1.0), (0, "/", 503, 3.0), (180, "/", 404, 5.0)]);
    let series = place.answer(&["usage", "series", "--since", "5h"]);
    let steps = series.as_array().unwrap();
    // One more where the test runs across the full hour.
    assert!((6..=7).contains(&steps.len()), "{series}");
    let sum = |name: &str| steps.iter().map(|step| step[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("request_count"), sum("errors_4xx"), sum("errors_5xx"), sum("response_bytes")), (3, 1, 1, 300));
    assert!(steps.iter().all(|step| step["start"].as_str().unwrap().ends_with(":00:00.000+00:00")), "{series}");
    let empty = json!({"start": steps[0]["start"], "request_count": 0, "errors_4xx": 0, "errors_5xx": 0,
        "avg_response_time_ms": 0.0, "p95_response_time_ms": 0.0, "request_bytes": 0, "response_bytes": 0});
    assert_eq!(steps[0], empty);
}

#[test]
fn a_series_for_people_has_a_bar_for_each_step() {
    let place = Place::new();
    let key = place.create(&[]);
    record(&place, &key, &[(0, "/", 200, 1.0)]);
    let shown = place.run(&["usage", "series", "--since", "2d", "--every", "1d"]);
    let lines: Vec<_> = shown.stdout.lines().collect();
    assert!(lines[0].starts_with("FROM (UTC)") && lines.len() >= 4, "{}", shown.stdout);
    assert_eq!(lines[1..].iter().filter(|line| line.ends_with('█')).count(), 1, "{}", shown.stdout);
}

#[test]
fn a_series_of_some_requests_counts_these_alone() {
    let place = Place::new();
    let (one, other) = (place.create(&[]), place.create(&[]));
    record(&place, &one, &[(1, "/a", 200, 1.0), (1, "/b", 404, 1.0)]);
    record(&place, &other, &[(1, "/a", 200, 1.0)]);
    let counted = |only: &[&str]| {
        let series = place.answer(&[&["usage", "series"], only].concat());
        series.as_array().unwrap().iter().map(|step| step["request_count"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(counted(&[]), 3);
    assert_eq!(counted(&["--key", one["key_id"].as_str().unwrap()]), 2);
    assert_eq!(counted(&["--path", "/a"]), 2);
    assert_eq!(counted(&["--status", "404"]), 1);
}

#[test]
fn steps_that_cannot_be_meant_are_refused() {
    let place = Place::new();
    place.create(&[]);
    place.run(&["usage", "series", "--every", "500ms"]).refused(2, &["--every", "second"]);
    place.run(&["usage", "series", "--since", "30d", "--every", "1s"]).refused(2, &["--every", "longer"]);
    place.run(&["usage", "series", "--since", "yesterday"]).refused(2, &["--since", "24h"]);
}

#[test]
fn a_key_is_shown_with_what_it_was_used_for() {
    let place = Place::new();
    let key = place.create_for("ann", "ci", &[]);
    let id = key["key_id"].as_str().unwrap();
    record(&place, &key, &[(10, "/a", 200, 1.0), (20, "/a", 200, 3.0), (30, "/slow", 500, 50.0), (3000, "/old", 200, 1.0)]);
    let shown = place.answer(&["usage", "show", id]);
    let named = ["name", "user_id", "request_count", "errors_5xx", "avg_response_time_ms", "p95_response_time_ms"]
        .map(|name| &shown[name]);
    assert_eq!(named, [&json!("ci"), &json!("ann"), &json!(3), &json!(1), &json!(18.0), &json!(50.0)]);
    assert_eq!(shown["statuses"], json!([{"status_code": 200, "request_count": 2}, {"status_code": 500, "request_count": 1}]));
    assert_eq!(shown["top_endpoints"][0], json!({"endpoint": "/a", "request_count": 2, "avg_response_time_ms": 2.0}));
    assert_eq!(shown["slowest_endpoints"][0]["endpoint"], "/slow");
    assert_eq!(shown["client_addresses"], json!([{"client_ip": "203.0.113.7", "request_count": 3}]));
    assert!(shown["first_used_at"].as_str() < shown["last_used_at"].as_str(), "{shown}");

    let people = place.run(&["usage", "show", id, "--since", "7d"]).stdout;
    assert!(people.contains("SLOWEST ENDPOINTS") && people.contains("/old"), "{people}");
    place.run(&["usage", "show", "key_nobody"]).refused(1, &["key_nobody", "keys list"]);
}

#[test]
fn an_export_has_the_rows_asked_for_in_the_form_asked_for() {
    let place = Place::new();
    let key = place.create(&[]);
    record(&place, &key, &[(90, "/old", 200, 1.0), (10, "/a", 200, 1.5), (5, "/b", 404, 2.0)]);
    let csv = place.run(&["usage", "export", "--since", "1h"]);
    assert_eq!((csv.code, csv.stderr.as_str()), (0, ""));
    let lines: Vec<_> = csv.stdout.lines().collect();
    assert!(lines[0].starts_with("timestamp,api_key_id,method,endpoint,"), "{}", csv.stdout);
    assert!(lines[1].ends_with(",GET,/a,200,1.5,10,100,203.0.113.7,'=1+1") && lines[2].contains("/b"), "{}", csv.stdout);
    assert_eq!(lines.len(), 3);

    let before = place.run(&["usage", "export", "--until", "1h", "--json"]).stdout;
    let row: Value = serde_json::from_str(&before).unwrap();
    assert_eq!((&row["endpoint"], &row["api_key_id"]), (&json!("/old"), &key["key_id"]));
    place.run(&["usage", "export", "--since", "1h", "--until", "2h"]).refused(2, &["--since", "--until"]);
}

#[test]
fn a_file_is_written_whole_and_says_how_much_it_holds() {
    let place = Place::new();
    let key = place.create(&[]);
    record(&place, &key, &[(5, "/a", 200, 1.0), (4, "/b", 200, 1.0)]);
    std::fs::write(place.path().join("usage.jsonl"), "of last month\n".repeat(1000)).unwrap();
    let done = place.answer(&["usage", "export", "--format", "jsonl", "--output", "usage.jsonl"]);
    assert_eq!(done, json!({"path": "usage.jsonl", "rows": 2}));
    assert_eq!(std::fs::read_to_string(place.path().join("usage.jsonl")).unwrap().lines().count(), 2);
}

#[test]
fn of_an_export_that_fails_nothing_stays_and_the_file_before_it_is_left_alone() {
    let place = Place::new();
    let key = place.create(&[]);
    record(&place, &key, &[(5, "/a", 200, 1.0)]);
    // A time that nobody understands stands behind the first row.
    place.database().execute_batch("UPDATE api_key_usage SET timestamp = substr(timestamp, 1, 10) || ' 99:99'").unwrap();
    std::fs::write(place.path().join("usage.csv"), "of last month").unwrap();
    let export = ["usage", "export", "--until", "2999-01-01T00:00:00Z", "--output"];
    place.run(&[&export[..], &["usage.csv"]].concat()).refused(1, &["99:99"]);
    assert_eq!(std::fs::read_to_string(place.path().join("usage.csv")).unwrap(), "of last month");
    place.run(&[&export[..], &["nowhere/usage.csv"]].concat()).refused(1, &["nowhere"]);
    place.run(&[&export[..], &["/dev/null"]].concat()).refused(1, &["/dev/null", "stdout"]);
    let left = names_in(place.path()).into_iter().filter(|name| name.contains("usage"));
    assert_eq!(left.collect::<Vec<_>>(), ["usage.csv"]);
}

#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    let place = Place::new();
    // A server that takes the question and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "[store]\nurl = \"postgres://u@{}/d\"\ntimeout = \"10m\"\n[[routes]]\npath = \"/\"\nrespond = {{}}\n",
        silent.local_addr().unwrap()
    );
    std::fs::write(place.path().join("gateway.toml"), config).unwrap();
    std::fs::create_dir(place.path().join("out")).unwrap();
    let mut export = place.start(&["usage", "export", "--output", "out/usage.csv"]);
    silent.set_nonblocking(true).unwrap();
    let _asked = loop {
        match silent.accept() {
            Ok(asked) => break asked,
            Err(_) => assert_eq!(export.try_wait().unwrap(), None, "it ended before it asked"),
        }
        std::thread::yield_now();
    };
    assert_eq!(names_in(&place.path().join("out")).len(), 1);
    let interrupt = format!("kill -INT {}", export.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    Ran::of(export.wait_with_output().unwrap()).refused(1, &["interrupted", "usage.csv"]);
    assert_eq!(names_in(&place.path().join("out")), Vec::<String>::new());
}

fn names_in(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn whoever_has_seen_enough_of_an_export_may_leave() {
    let place = Place::new();
    let key = place.create(&[]);
    let many = "INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code)
                WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
                SELECT ?1, '/', '2026-01-01 00:00:00.000', 1, 200 FROM numbers";
    place.database().execute(many, [key["key_id"].as_str().unwrap()]).unwrap();
    for format in ["csv", "jsonl"] {
        let command = &mut place.command(&["usage", "export", "--format", format]);
        let mut export = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(export.stdout.take());
        let ended = Ran::of(export.wait_with_output().unwrap());
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    }
}
