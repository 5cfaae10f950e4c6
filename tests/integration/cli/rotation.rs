//! Rotation on a schedule: nobody looks on, so whatever goes wrong must leave every owner with a secret that works.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use hokusai_gateway::model::key_hash::KeyHash;
use serde_json::{Value, json};

use crate::place::{Place, Ran};

const TO_FOLDER: [&str; 6] = ["keys", "rotate", "--due", "90d", "--deliver-to", "out"];
const BY_PROGRAM: [&str; 6] = ["keys", "rotate", "--due", "90d", "--deliver-command", "./deliver"];

fn place() -> Place {
    let place = Place::new();
    fs::create_dir(place.path().join("out")).unwrap();
    set_mode(&place, 0o700);
    place
}

fn set_mode(place: &Place, mode: u32) {
    fs::set_permissions(place.path().join("out"), fs::Permissions::from_mode(mode)).unwrap();
}

/// A key of this name, made and last rotated so long ago.
fn old_key(place: &Place, name: &str) -> Value {
    let key = place.create_for("ann", name, &[]);
    change(place, &key, "created_at = '2001-01-01 00:00:00.000'");
    key
}

fn change(place: &Place, key: &Value, set: &str) {
    place.database().execute(&format!("UPDATE api_keys SET {set} WHERE key_id = ?1"), [id(key)]).unwrap();
}

fn id(key: &Value) -> &str {
    key["key_id"].as_str().unwrap()
}

fn delivered(place: &Place, key: &Value) -> Value {
    serde_json::from_slice(&fs::read(place.path().join("out").join(format!("{}.json", id(key)))).unwrap()).unwrap()
}

/// Until when the key takes this secret; `None`: it does not. The current one has no end, here the empty text.
fn works_until(place: &Place, secret: &Value) -> Option<String> {
    let sql = "SELECT '' FROM api_keys WHERE key_hash = ?1 UNION ALL
               SELECT valid_until FROM api_key_previous_secrets WHERE key_hash = ?1";
    let hash = KeyHash::of(secret["key"].as_str().unwrap().as_bytes()).to_hex();
    let database = place.database();
    let ends: Vec<String> =
        database.prepare(sql).unwrap().query_map([hash], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(ends.len() <= 1, "{ends:?}");
    ends.into_iter().next()
}

fn is_current(place: &Place, secret: &Value) -> bool {
    works_until(place, secret).as_deref() == Some("")
}

/// Written by another process: one that is forked meanwhile would hold the file open, and it could not be started.
fn script(place: &Place, text: &str) {
    let mut install = Command::new("install")
        .args(["-m", "755", "/dev/stdin", "deliver"])
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    install.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
}

fn outcomes(lines: &Value) -> Vec<(&str, &str)> {
    lines.as_array().unwrap().iter().map(|line| (line["name"].as_str().unwrap(), line["outcome"].as_str().unwrap())).collect()
}

#[test]
fn what_is_due_is_rotated_once_and_nothing_else_is() {
    let place = place();
    let due = old_key(&place, "due");
    for (name, set) in [
        ("rotated lately", "rotated_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '-89 days')"),
        ("disabled", "is_active = FALSE"),
        ("revoked", "revoked_at = '2001-02-01 00:00:00.000'"),
        ("expired", "expires_at = '2001-02-01 00:00:00.000'"),
    ] {
        change(&place, &old_key(&place, name), set);
    }
    place.create_for("ann", "new", &[]);
    let again = old_key(&place, "rotated long ago");
    change(&place, &again, "rotated_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '-91 days')");

    let lines = place.answer(&TO_FOLDER);
    let mut names = outcomes(&lines);
    names.sort_unstable();
    assert_eq!(names, [("due", "rotated"), ("rotated long ago", "rotated")]);
    for key in [&due, &again] {
        let new = delivered(&place, key);
        assert!(is_current(&place, &new));
        let end = works_until(&place, key).unwrap().replace(' ', "T");
        assert_eq!(new["previous_valid_until"], format!("{end}+00:00"));
    }
    assert_eq!(place.answer(&TO_FOLDER), json!([]), "none is due any more");
    assert_eq!(place.run(&TO_FOLDER).stdout, "No key is due.\n");
}

#[test]
fn a_delivered_file_is_what_a_rotation_by_hand_prints_and_its_owners_alone() {
    let place = place();
    let key = old_key(&place, "ci");
    let elsewhere = place.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    let file = place.path().join("out").join(format!("{}.json", id(&key)));
    symlink(&elsewhere, &file).unwrap();
    let lines = place.answer(&[&TO_FOLDER[..], &["--grace", "0s"]].concat());

    let mut new = delivered(&place, &key);
    assert_eq!((works_until(&place, &key), &new["previous_valid_until"]), (None, &Value::Null));
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "precious", "no link is followed");
    let found = file.symlink_metadata().unwrap();
    assert_eq!((found.is_file(), found.permissions().mode() & 0o7777), (true, 0o600));
    assert_eq!(fs::read_dir(place.path().join("out")).unwrap().count(), 1, "nothing else is left");
    let by_hand = place.answer(&["keys", "rotate", id(&key), "--grace", "0s"]);
    new["key"] = by_hand["key"].clone();
    new["key_prefix"] = by_hand["key_prefix"].clone();
    assert_eq!(new, by_hand);
    new.as_object_mut().unwrap().remove("key");
    assert_eq!(lines[0].as_object().unwrap().len(), new.as_object().unwrap().len() + 2, "outcome and error: {lines}");
}

/// Without this, a key id that came by plain SQL could name any file of the machine.
#[test]
fn a_file_is_in_the_folder_whatever_its_key_is_called() {
    let place = place();
    change(&place, &old_key(&place, "ci"), "key_id = '../../etc/é'");
    place.answer(&TO_FOLDER);
    assert!(place.path().join("out/%2E%2E%2F%2E%2E%2Fetc%2F%C3%A9.json").is_file());
}

#[test]
fn where_nothing_can_be_delivered_nothing_is_rotated() {
    let place = place();
    let key = old_key(&place, "ci");
    fs::write(place.path().join("no-program"), "").unwrap();
    let refused = |option, value, words: &[&str]| {
        for dry in [&[][..], &["--dry-run"]] {
            place.run(&[&["keys", "rotate", "--due", "90d", option, value], dry].concat()).refused(1, words);
        }
    };
    refused("--deliver-to", "missing", &["missing", "nothing was rotated", "hint: "]);
    refused("--deliver-to", "no-program", &["no folder"]);
    for mode in [0o770, 0o1777] {
        set_mode(&place, mode);
        refused("--deliver-to", "out", &["out can be written to by others"]);
    }
    for name in ["./no-program", "no-program", "/missing", "."] {
        refused("--deliver-command", name, &[name, "no program"]);
    }
    assert!(is_current(&place, &key));
}

#[test]
fn a_failed_delivery_is_named_the_others_go_on_and_the_next_run_makes_up_for_it() {
    let place = place();
    let keys = ["first", "second", "third"].map(|name| old_key(&place, name));
    script(&place, "cat > last; if grep -q second last; then echo 'the vault is shut' >&2; exit 3; fi");
    let ran = place.run(&[&BY_PROGRAM[..], &["--json"]].concat());
    assert_eq!(ran.code, 1);
    let lines: Value = serde_json::from_str(&ran.stdout).unwrap();
    let mut all = outcomes(&lines);
    all.sort_unstable();
    assert_eq!(all, [("first", "rotated"), ("second", "failed"), ("third", "rotated")]);
    let failed = id(&keys[1]);
    for said in [format!("{failed}: the vault is shut"), format!("{failed}: ./deliver failed: exit status: 3")] {
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains(id(&keys[0])) && ran.stderr.contains("next run"), "{}", ran.stderr);
    assert_eq!([0, 1, 2].map(|at| is_current(&place, &keys[at])), [false, true, false]);

    script(&place, "cat > last");
    assert_eq!(outcomes(&place.answer(&BY_PROGRAM)), [("second", "rotated")]);
    let last: Value = serde_json::from_slice(&fs::read(place.path().join("last")).unwrap()).unwrap();
    assert!(is_current(&place, &last) && last["name"] == "second");
}

/// Without this, a run that is killed amid a delivery would have given the old secret an end, and nobody the new one.
#[test]
fn a_run_that_is_killed_leaves_its_key_with_the_secret_it_has_and_due() {
    let place = place();
    let key = old_key(&place, "ci");
    script(&place, "cat > last; kill -9 $PPID");
    assert_eq!(place.command(&BY_PROGRAM).output().unwrap().status.code(), None);
    assert!(is_current(&place, &key));
    let last: Value = serde_json::from_slice(&fs::read(place.path().join("last")).unwrap()).unwrap();
    assert!(works_until(&place, &last).is_some(), "what may have been delivered works too");
    assert_eq!(outcomes(&place.answer(&TO_FOLDER)), [("ci", "rotated")]);
}

#[test]
fn a_secret_is_in_what_is_delivered_and_nowhere_else() {
    let place = place();
    old_key(&place, "by program");
    script(&place, "cat > last; cat last; cat last >&2; { echo \"$0 $@\"; env; } > seen");
    let ran = place.run(&[&BY_PROGRAM[..], &["--log-file", "cli.log"]].concat());
    let old = old_key(&place, "to folder");
    let silent = place.run(&[&TO_FOLDER[..], &["--log-file", "cli.log"]].concat());
    assert_eq!((ran.code, silent.code, silent.stderr.as_str()), (0, 0, ""));
    let last: Value = serde_json::from_slice(&fs::read(place.path().join("last")).unwrap()).unwrap();
    let [seen, log] = ["seen", "cli.log"].map(|file| fs::read_to_string(place.path().join(file)).unwrap());
    assert!(log.contains("key rotated and delivered") && seen.contains("PATH="), "{log}{seen}");
    assert!(ran.stderr.contains("\"by program\""), "its words are passed on: {}", ran.stderr);
    for secret in [last, delivered(&place, &old)] {
        let hidden = &secret["key"].as_str().unwrap()["hk_live_abc".len()..];
        for text in [&ran.stdout, &ran.stderr, &silent.stdout, &seen, &log] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

#[test]
fn a_dry_run_says_what_is_due_and_changes_nothing() {
    let place = place();
    let key = old_key(&place, "ci");
    place.create_for("ann", "new", &[]);
    for delivery in [&["--dry-run"][..], &["--dry-run", "--deliver-to", "out"]] {
        assert_eq!(outcomes(&place.answer(&[&TO_FOLDER[..4], delivery].concat())), [("ci", "due")]);
    }
    assert!(is_current(&place, &key));
    let offered: u64 = place.database().query_row("SELECT count(*) FROM api_key_previous_secrets", [], |row| row.get(0)).unwrap();
    assert_eq!((offered, fs::read_dir(place.path().join("out")).unwrap().count()), (0, 0));
}

#[test]
fn one_key_or_what_is_due_is_rotated_and_anything_between_is_bad_usage() {
    let place = place();
    let due = &TO_FOLDER[2..];
    for (args, word) in [
        (&[][..], "KEY_ID"),
        (&["--due", "90d"], "--deliver-to <FOLDER>|--deliver-command <PROGRAM>|--dry-run"),
        (&["--due", "90", "--dry-run"], "unit"),
        (&[&["key_1"], due].concat(), "--due"),
        (&[due, &["--deliver-command", "cat"]].concat(), "--deliver-command"),
        (&["key_1", "--dry-run"], "--dry-run"),
        (&["key_1", "--user", "ann"], "--user"),
        (&["key_1", "--deliver-to", "out"], "--deliver-to"),
        (&["key_1", "--deliver-command", "cat"], "--deliver-command"),
        (&["--dry-run"], "--due"),
        (&["--deliver-to", "out"], "--due"),
    ] {
        place.run(&[&["keys", "rotate"], args].concat()).refused(2, &[word]);
    }
}

#[test]
fn the_user_whose_keys_are_rotated_is_that_of_the_option_or_of_the_environment() {
    let place = place();
    let anns = old_key(&place, "anns");
    change(&place, &old_key(&place, "bobs"), "user_id = 'bob'");
    let due = |user: &[&str]| {
        let args = [&TO_FOLDER[..4], &["--dry-run", "--json"], user].concat();
        let lines = Ran::of(place.command(&args).env("HOKUSAI_USER_ID", "ann").output().unwrap()).answer();
        let mut names: Vec<_> = outcomes(&lines).iter().map(|(name, _)| (*name).to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(due(&[]), ["anns"]);
    assert_eq!(due(&["--user", "bob"]), ["bobs"]);
    assert_eq!(due(&["--user", ""]), ["anns", "bobs"]);
    let by_hand = place.command(&["keys", "rotate", id(&anns), "--json"]).env("HOKUSAI_USER_ID", "bob").output();
    assert_eq!(Ran::of(by_hand.unwrap()).answer()["key_id"], anns["key_id"]);
}

#[test]
fn a_row_that_cannot_be_read_is_named_and_keeps_no_other_from_its_turn() {
    let place = place();
    let broken = old_key(&place, "broken");
    change(&place, &broken, "scopes = '[1]'");
    old_key(&place, "sound");
    let ran = place.run(&[&TO_FOLDER[..], &["--json"]].concat());
    assert!(ran.code == 1 && ran.stderr.contains(id(&broken)), "{}", ran.stderr);
    assert_eq!(outcomes(&serde_json::from_str(&ran.stdout).unwrap()), [("sound", "rotated")]);
}
