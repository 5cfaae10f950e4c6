//! Commands that work through the admin API of a gateway elsewhere answer as those that work on its store.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::admin::{created, started, with_key};
use crate::support::{Gateway, Upstream, begin_within_an_hour, eventually};

fn endpoint(gateway: &Gateway) -> String {
    format!("http://{}", gateway.admin_address())
}

fn through_the_api(gateway: &Gateway, arguments: &[&str]) -> Output {
    gateway.cli(&[arguments, &["--endpoint", &endpoint(gateway)]].concat())
}

fn json_through_the_api(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = through_the_api(gateway, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn fields(object: &Value) -> Vec<&String> {
    object.as_object().expect("an object").keys().collect()
}

#[test]
fn what_only_looks_prints_the_same_for_people_and_for_programs() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    begin_within_an_hour();
    let (key, id) = created(&gateway, &json!({"name": "ci", "user_id": "ann", "rate_limit_per_hour": 50}));
    let (_, revoked) = created(&gateway, &json!({"name": "é \"quoted\"", "user_id": "bob", "expires_at": "2126-11-01T10:00:00"}));
    gateway.cli_json(&["keys", "revoke", &revoked]);
    for path in ["/a", "/a", "/b"] {
        assert_eq!(gateway.ask(&with_key(path, &key)).status, 200);
    }
    eventually("use is in the store", || gateway.cli_json(&["usage", "show", &id])["request_count"] == json!(3));
    eventually("the hour is told", || gateway.cli_json(&["limits", "show", &id])["used"] == json!(3));
    eventually("the use is noted", || gateway.cli_json(&["keys", "show", &id])["last_used_at"].is_string());
    let since = "2026-01-01T00:00:00Z";
    for command in [
        &["keys", "list"][..],
        &["keys", "list", "--user", "ann", "--active"],
        &["keys", "list", "--older-than", "1d"],
        &["keys", "show", &id],
        &["keys", "show", &revoked],
        &["limits", "show", &id],
        &["usage", "top", "--since", since],
        &["usage", "series", "--since", "3h", "--path", "/a"],
        &["usage", "series", "--since", "3h", "--key", &id, "--status", "200"],
        &["usage", "show", &id, "--since", since],
        &["usage", "export", "--since", since, "--until", "2126-01-01T00:00:00Z"],
        &["usage", "export", "--key", &id, "--path", "/b", "--format", "jsonl"],
        &["explain", "--key-id", &id, "--ip", "192.0.2.1", "--header", "X-Forwarded-For: 192.0.2.2"],
        &["audit", "list"],
        &["audit", "list", "--key", &id, "--action", "created", "--limit", "1"],
        &["audit", "verify"],
    ] {
        for form in [&[][..], &["--json"]] {
            let command = [command, form].concat();
            let (local, remote) = (gateway.cli(&command), through_the_api(&gateway, &command));
            let text = |output: &Output| String::from_utf8(output.stdout.clone()).expect("text");
            assert!(remote.status.success(), "{command:?}: {}", String::from_utf8_lossy(&remote.stderr));
            assert_eq!(text(&local), text(&remote), "{command:?}");
        }
    }
}

#[test]
fn what_changes_keys_changes_them_there_and_answers_the_same_fields() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let create = ["keys", "create", "--user", "ann", "--name", "ci", "--environment", "test", "--scope", "read"];
    let restricted = ["--rate-limit", "none", "--expires-in", "30d", "--allowed-ip", "127.0.0.0/8"];
    let create = [&create[..], &restricted].concat();
    let (local, remote) = (gateway.cli_json(&create), json_through_the_api(&gateway, &create));
    assert_eq!(fields(&local), fields(&remote));
    for field in ["user_id", "name", "environment", "rate_limit_per_hour", "allowed_ips", "scopes", "is_active"] {
        assert_eq!(local[field], remote[field], "{field}");
    }
    let secret = |answer: &Value| answer["key"].as_str().expect("a key").to_owned();
    assert_eq!(gateway.ask(&with_key("/", &secret(&remote))).status, 200);

    let id = remote["key_id"].as_str().expect("an id");
    let update = ["keys", "update", id, "--rate-limit", "7", "--no-expiry", "--any-ip", "--no-scopes", "--name", "b"];
    let updated = json_through_the_api(&gateway, &update);
    let shown = gateway.cli_json(&["keys", "show", id]);
    assert_eq!((fields(&updated), &updated["name"]), (fields(&shown), &shown["name"]));
    let changed = ["rate_limit_per_hour", "expires_at", "allowed_ips", "scopes", "name"].map(|field| updated[field].clone());
    assert_eq!(changed, [json!(7), Value::Null, json!([]), json!([]), json!("b")]);
    assert_eq!(json_through_the_api(&gateway, &["limits", "reset", id])["limit"], json!(7));

    let rotated = json_through_the_api(&gateway, &["keys", "rotate", id, "--grace", "0s"]);
    assert_eq!(fields(&rotated), fields(&gateway.cli_json(&["keys", "rotate", local["key_id"].as_str().expect("an id")])));
    assert_eq!(rotated["previous_valid_until"], Value::Null);
    assert_eq!(gateway.ask(&with_key("/", &secret(&rotated))).status, 200);
    let revoked = json_through_the_api(&gateway, &["keys", "revoke", id, "--wait"]);
    assert_eq!((&revoked["key_id"], revoked["confirmed_by"].as_array().map(Vec::len)), (&json!(id), Some(1)));
    assert_eq!(gateway.ask(&with_key("/", &secret(&rotated))).status, 401);
    let events = gateway.cli_json(&["audit", "list", "--key", id]);
    assert!(events.as_array().expect("a list").iter().all(|event| event["via"] == json!("api")), "{events}");
}

#[test]
fn what_is_wrong_is_told_as_it_is_on_the_store() {
    let upstream = Upstream::ok();
    let mut gateway = started(&upstream, "");
    for command in [
        &["keys", "show", "key_nobody"][..],
        &["keys", "revoke", "key_nobody"],
        &["limits", "show", "key_nobody"],
        &["keys", "create", "--user", "ann", "--name", " "],
        &["explain", "--ip", "192.0.2.1", "--path", "a b"],
    ] {
        let (local, remote) = (gateway.cli(command), through_the_api(&gateway, command));
        assert_eq!((local.status.code(), local.stdout.is_empty()), (remote.status.code(), true), "{command:?}");
        let first = |output: &Output| String::from_utf8_lossy(&output.stderr).lines().next().map(str::to_owned);
        assert_eq!(first(&local), first(&remote), "{command:?}");
    }
    let refused = |command: &[&str], words: &[&str]| {
        let output = gateway.cli(command);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{command:?}");
        assert!(words.iter().all(|word| says.contains(word)), "{command:?}: {says}");
        output.status.code()
    };
    let traffic = format!("http://{}", gateway.address());
    refused(&["keys", "list", "--endpoint", &traffic], &["not as the admin API", "admin listener"]);
    refused(&["keys", "list", "--endpoint", "http://127.0.0.1:1"], &["cannot be reached", "HOKUSAI_API_ENDPOINT"]);
    assert_eq!(refused(&["keys", "list", "--endpoint", "127.0.0.1:8081"], &["is no URL"]), Some(2));
    for command in [&["migrate", "status"][..], &["cleanup"], &["check"], &["schema"], &["serve"]] {
        let command = [command, &["--endpoint", &traffic]].concat();
        assert_eq!(refused(&command, &["--endpoint is for keys"]), Some(2), "{command:?}");
    }
    assert_eq!(
        refused(&["keys", "rotate", "--due", "1d", "--dry-run", "--endpoint", &traffic], &["on the store itself"]),
        Some(2)
    );
    gateway.set_environment("HOKUSAI_ADMIN_TOKEN", "another");
    let output = through_the_api(&gateway, &["keys", "list"]);
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(says.contains("not good here") && says.contains("HOKUSAI_API_KEY") && !says.contains("another"), "{says}");
}

#[test]
fn the_environment_names_the_endpoint_and_an_owners_key_is_enough_for_their_keys() {
    let upstream = Upstream::ok();
    let mut gateway = started(&upstream, "");
    let (key, id) = created(&gateway, &json!({"name": "hers", "user_id": "ann"}));
    created(&gateway, &json!({"name": "his", "user_id": "bob"}));
    gateway.set_environment("HOKUSAI_API_ENDPOINT", &endpoint(&gateway));
    assert_eq!(gateway.cli_json(&["keys", "list"]).as_array().map(Vec::len), Some(2));
    // Of commands that work on the store alone it says nothing.
    assert!(gateway.cli_json(&["migrate", "status"])["api_keys"].is_number());
    gateway.set_environment("HOKUSAI_ADMIN_TOKEN", "");
    gateway.set_environment("HOKUSAI_API_KEY", &key);
    let listed = gateway.cli_json(&["keys", "list"]);
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["key_id"]), (Some(1), &json!(id)));
    let output = gateway.cli(&["usage", "top"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("admin token"), "{output:?}");
    gateway.set_environment("HOKUSAI_API_KEY", "");
    assert!(String::from_utf8_lossy(&gateway.cli(&["keys", "list"]).stderr).contains("no credential"));
}
