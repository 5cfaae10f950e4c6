//! Keys brought from elsewhere by a file.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::place::{Place, Ran};

const KEY: &str = "a-key-from-elsewhere";

fn write(place: &Place, name: &str, text: &str) {
    std::fs::write(place.path().join(name), text).unwrap();
}

fn listed(place: &Place) -> Vec<Value> {
    place.answer(&["keys", "list"]).as_array().unwrap().clone()
}

fn told(imported: usize, already_there: usize) -> Value {
    json!({
        "dry_run": false, "imported": imported, "already_there": already_there, "awaiting_first_use": 0, "errors": [],
        "more_errors": 0
    })
}

#[test]
fn keys_are_imported_with_their_settings_and_a_second_time_left_as_they_are() {
    let place = Place::new();
    let csv = format!("key,name,allowed_ips,rate_limit_per_hour\n{KEY}-1,first,10.0.0.0/8 ::1,5\n{KEY}-2,,,\n");
    write(&place, "keys.csv", &csv);
    let import = ["keys", "import", "keys.csv", "--user", "ann"];
    assert_eq!(place.answer(&import), told(2, 0));
    let mut keys = listed(&place);
    keys.sort_by_key(|key| key["name"].to_string());
    assert_eq!((&keys[0]["name"], &keys[0]["allowed_ips"]), (&json!("first"), &json!(["10.0.0.0/8", "::1"])));
    assert_eq!((&keys[0]["rate_limit_per_hour"], &keys[1]["rate_limit_per_hour"]), (&json!(5), &json!(1000)));
    assert_eq!(
        (&keys[1]["user_id"], &keys[1]["name"], &keys[1]["key_prefix"]),
        (&json!("ann"), &json!("imported"), &json!("a-ke"))
    );

    write(&place, "keys.csv", &format!("{csv}{KEY}-3,third,,\n"));
    assert_eq!(place.answer(&import), told(1, 2));
    assert_eq!(listed(&place).len(), 3);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let place = Place::new();
    write(&place, "keys.jsonl", &format!("{{\"key\": \"{KEY}\", \"user_id\": \"ann\"}}\n"));
    let ran = place.run(&["keys", "import", "keys.jsonl", "--dry-run"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Would import 1 key.\n"), "{}", ran.stderr);
    assert_eq!(place.answer(&["keys", "import", "keys.jsonl", "--dry-run"])["dry_run"], true);
    assert!(listed(&place).is_empty());
}

#[test]
fn while_anything_is_wrong_nothing_is_written_and_everything_wrong_is_told_by_its_line() {
    let place = Place::new();
    let csv = format!("key,environment,expires_at\n{KEY}-1,,\n{KEY}-2,prod,soon\n{KEY}-1,,\nshort,,\n");
    write(&place, "keys.csv", &csv);
    let import = ["keys", "import", "keys.csv", "--user", "ann"];
    let lines = ["line 3: environment: ", "line 3: expires_at: ", "line 4: the key is the same as in line 2", "line 5: key: "];
    let ran = place.run(&import);
    ran.refused(1, &lines);
    assert!(!ran.stderr.contains(KEY), "{}", ran.stderr);
    assert!(listed(&place).is_empty());

    let ran = place.run(&[&import[..], &["--json"]].concat());
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    let in_lines: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert_eq!((ran.code, in_lines, &answer["imported"]), (1, vec![3, 3, 4, 5], &json!(0)));
}

#[test]
fn of_very_many_errors_the_first_are_told_and_the_others_counted() {
    let place = Place::new();
    write(&place, "keys.csv", &format!("key\n{}", "short\n".repeat(1000)));
    let ran = place.run(&["keys", "import", "keys.csv", "--user", "ann"]);
    ran.refused(1, &["line 101: ", "and 900 more"]);
    assert!(!ran.stderr.contains("line 102: "), "{}", ran.stderr);
}

#[test]
fn keys_come_from_stdin_when_their_format_is_named() {
    let place = Place::new();
    let import = ["keys", "import", "-", "--user", "ann", "--json"];
    place.run(&import).refused(2, &["--format"]);
    let with_format = [&import[..], &["--format", "jsonl"]].concat();
    let mut command = place.command(&with_format);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{{\"key\": \"{KEY}\"}}").unwrap();
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).answer(), told(1, 0));
}

#[test]
fn a_file_that_is_not_there_or_says_nothing_is_told() {
    let place = Place::new();
    place.run(&["keys", "import", "keys.csv", "--user", "ann"]).refused(1, &["keys.csv", "No such file"]);
    write(&place, "keys.csv", "");
    place.run(&["keys", "import", "keys.csv", "--user", "ann"]).refused(1, &["there is no key"]);
}

/// Neither in the store nor in a log nor in what is printed.
#[test]
fn an_imported_key_stands_nowhere_afterwards() {
    let place = Place::new();
    write(&place, "keys.csv", &format!("key\n{KEY}-secret\n"));
    let ran = place.run(&["keys", "import", "keys.csv", "--user", "ann", "--log-file", "cli.log"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    std::fs::remove_file(place.path().join("keys.csv")).unwrap();
    let said = [ran.stdout, ran.stderr, std::fs::read_to_string(place.path().join("cli.log")).unwrap()];
    assert!(said[2].contains("keys imported"), "{}", said[2]);
    assert!(!said.iter().any(|text| text.contains(KEY)));
    for file in std::fs::read_dir(place.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(KEY));
    }
}
