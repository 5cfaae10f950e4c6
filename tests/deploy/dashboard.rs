//! The dashboard, as far as it can be held to account without Grafana.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::metrics::Exported;
use crate::{read, succeed};

#[test]
fn every_panel_asks_for_what_the_gateway_tells() {
    let exported = Exported::collect();
    for query in queries() {
        exported.has_all_of(&query);
    }
}

/// Prometheus is handed them as recording rules: JSON is YAML.
#[test]
fn prometheus_understands_every_query() {
    let plain = |query: &String| query.replace("$__rate_interval", "5m");
    let rule = |(number, query): (usize, &String)| json!({ "record": format!("panel:{number}"), "expr": plain(query) });
    let rules: Vec<_> = queries().iter().enumerate().map(rule).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("panels.json");
    let groups = json!({ "groups": [{ "name": "panels", "rules": rules }] });
    fs::write(&file, groups.to_string()).expect("the folder can be written to");
    succeed(Command::new("promtool").args(["check", "rules"]).arg(&file));
}

#[test]
fn panels_have_numbers_and_places_of_their_own() {
    let mut numbers = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels() {
        assert!(numbers.insert(panel["id"].as_u64().expect("a number")), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(x + w <= 24, "{panel}");
        for place in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
            assert!(places.insert(place), "{panel} lies over another");
        }
    }
}

#[test]
fn every_panel_asks_the_prometheus_that_was_chosen() {
    let panels = panels().into_iter().filter(|panel| panel["type"] != "row");
    let elsewhere: Vec<_> = panels.filter(|panel| panel["datasource"]["uid"] != "${datasource}").collect();
    assert_eq!(elsewhere, Vec::<Value>::new());
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/dashboard.json")).expect("JSON");
    dashboard["panels"].as_array().expect("a list").clone()
}

fn queries() -> Vec<String> {
    let targets = panels().into_iter().filter_map(|panel| panel["targets"].as_array().cloned()).flatten();
    let queries: Vec<_> = targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect();
    assert!(queries.len() > 20, "only {} were read", queries.len());
    queries
}
