//! The dashboard, as a browser and a person meet it.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::admin::{TOKEN, started, with_key};
use crate::support::{Gateway, Upstream, begin_within_an_hour, eventually};

#[test]
fn the_page_lets_nothing_in_from_elsewhere() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let page = gateway.ask_admin("/");
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page:?}");
    let text = page.text();
    let files = ["href=\"", "src=\""].map(|start| text.split(start).skip(1).filter_map(|rest| rest.split('"').next()));
    let files: Vec<_> = files.into_iter().flatten().filter(|link| !link.starts_with('#')).collect();
    assert!(files.len() > 2, "{files:?}");
    let mut left: Vec<String> = files.into_iter().chain(["/"]).map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = left.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let file = gateway.ask_admin(&path);
        assert_eq!(file.status, 200, "{path}");
        // What a script imports is a file of the page like any other.
        let text = file.text();
        left.extend(
            text.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()).map(|name| format!("/dashboard/{name}")),
        );
        assert_eq!(file.header("content-type"), Some(kind_of(&path)), "{path}");
        assert_eq!(
            (file.header("referrer-policy"), file.header("cache-control")),
            (Some("no-referrer"), Some("no-cache")),
            "{path}"
        );
        let policy = file.header("content-security-policy").expect("it has a policy");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!((file.header("x-frame-options"), file.header("x-content-type-options")), (Some("DENY"), Some("nosniff")));
    }
    assert!(seen.contains("/dashboard/dom.js") && seen.contains("/dashboard/charts.js"), "{seen:?}");
}

fn kind_of(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

/// Needs Chromium.
#[test]
fn a_person_signs_in_makes_finds_and_revokes_keys() {
    begin_within_an_hour();
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let [url, traffic] = [gateway.admin_address(), gateway.address()].map(|address| format!("http://{address}/"));
    let used = Command::new("/usr/bin/python3")
        .args(["tests/peers/dashboard.py", &url, &traffic, TOKEN])
        .output()
        .expect("Python starts");
    assert!(used.status.success(), "{}", String::from_utf8_lossy(&used.stderr));
    let seen: Value = serde_json::from_slice(&used.stdout).expect("JSON");
    assert!(seen["told"].as_str().is_some_and(|told| told.contains("not good")), "{seen}");
    assert_eq!(seen["listed"], seen["names"], "names are texts, whatever they hold");
    assert_eq!(seen["title"], json!("hokusai-gateway"), "nothing in a name ran");
    assert_eq!(seen["log"], json!([]), "no error, nothing that the policy had to stop");
    assert!(seen["mistaken"].as_str().is_some_and(|told| told.contains("admin token")), "{seen}");
    assert_eq!(seen["kept"], json!(0), "the token is forgotten, and what was none is not kept");
    assert!(seen["asked"].as_str().is_some_and(|asked| asked.starts_with("Revoke second")), "{seen}");
    assert!(seen["widest"].as_u64().is_some_and(|width| width <= 360), "it fits a phone: {seen}");
    assert!(seen["unsendable"].as_str().is_some_and(|told| told.contains("no token can have")), "{seen}");
    assert!(seen["kept_by_escape"].as_str().is_some_and(|told| told.contains("cannot be shown again")), "{seen}");
    assert_eq!(seen["focus"], json!("Rotate first"), "the focus goes back to where it was");
    assert_eq!(seen["left_in_page"], json!(0), "no row stays after signing out");
    assert_eq!((&seen["scrolled"], &seen["reset"]), (&json!(0), &json!(true)), "{seen}");
    assert!(seen["refused"].as_str().is_some_and(|told| told.contains("the key was revoked")), "{seen}");
    assert_eq!((&seen["filtered"], &seen["live"]), (&json!(1), &json!(2)), "a refusal is told without being asked for: {seen}");
    assert_eq!((&seen["paused"], &seen["resumed"]), (&json!(2), &json!(3)), "{seen}");
    let saved = seen["saved"].as_str().expect("the rows were saved");
    assert!(saved.starts_with("timestamp,api_key_id,") && saved.contains("/some/path"), "{saved}");
    assert!(
        seen["half"].as_str().is_some_and(|told| told.contains("Most active keys") && told.contains("cannot be reached")),
        "{seen}"
    );
    let keys: Vec<_> = seen["keys"].as_array().expect("keys").iter().filter_map(Value::as_str).collect();
    assert_eq!(gateway.ask(&with_key("/", keys[0])).status, 200);
    eventually("the revoked one is refused", || gateway.ask(&with_key("/", keys[2])).status == 401);
}
