//! What goes wrong says what was wrong, where, and what to do, and exits 1; what cannot be meant exits 2.

use std::fs;

use crate::place::{Place, Ran};

#[test]
fn without_a_configuration_the_paths_looked_at_are_named() {
    let place = Place::new();
    for command in ["serve", "check"] {
        place.run(&[command]).refused(1, &["gateway.toml", "/etc/hokusai-gateway/gateway.toml", "demo"]);
    }
    place.run(&["check", "-c", "absent.toml"]).refused(1, &["absent.toml", "No such file"]);
    Ran::of(place.command(&["check"]).env("GATEWAY_CONFIG", "other.toml").output().unwrap()).refused(1, &["other.toml"]);
}

#[test]
fn check_lists_every_problem() {
    let place = Place::new();
    fs::write(place.path().join("gateway.toml"), "[server]\nlisen = []\n[store]\npool_size = \"many\"\n").unwrap();
    let ran = place.run(&["check"]);
    assert_eq!(ran.code, 1);
    for word in ["server.lisen", "listen", "store.pool_size", "routes"] {
        assert!(ran.stdout.contains(word), "{word} is missing in: {}", ran.stdout);
    }
    let ran = place.run(&["check", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &answer["valid"]), (1, &false.into()));
    assert_eq!(answer["problems"][0]["path"], "server.lisen");
    assert!(answer["problems"].as_array().unwrap().len() >= 3, "{answer}");
}

#[test]
fn a_file_that_is_in_order_is_said_to_be() {
    let place = Place::new();
    let file =
        "[[upstreams]]\nname = \"app\"\nservers = [\"http://127.0.0.1:8000\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";
    fs::write(place.path().join("gateway.toml"), file).unwrap();
    assert_eq!(place.answer(&["check"])["valid"], true);
    assert!(place.run(&["check"]).stdout.contains("gateway.toml"));
}

#[test]
fn commands_read_the_store_that_the_file_or_the_environment_names() {
    let place = Place::new();
    fs::create_dir(place.path().join("etc")).unwrap();
    let file = "[store]\nurl = \"sqlite:keys.db\"\n[[routes]]\npath = \"/\"\nauth = \"none\"\nrespond = { status = 200 }\n";
    fs::write(place.path().join("etc/gateway.toml"), file).unwrap();
    place.answer(&["keys", "list", "-c", "etc/gateway.toml"]);
    assert!(place.path().join("etc/keys.db").exists());
    Ran::of(place.command(&["keys", "list", "--json"]).env("DATABASE_URL", "sqlite:other.db").output().unwrap()).answer();
    assert!(place.path().join("other.db").exists());
}

#[test]
fn a_bad_value_is_bad_usage_and_names_option_value_and_cure() {
    let create = |option: &[&str]| Place::new().run(&[&["keys", "create", "--user", "ann", "--name", "ci"], option].concat());
    create(&["--allowed-ip", "10.0.0.0/33"]).refused(2, &["--allowed-ip", "10.0.0.0/33", "CIDR"]);
    create(&["--rate-limit", "0"]).refused(2, &["--rate-limit", "`none`"]);
    create(&["--rate-limit", "99999999999999999999"]).refused(2, &["--rate-limit"]);
    create(&["--expires-in", "30"]).refused(2, &["--expires-in", "30s"]);
    create(&["--expires-at", "soon"]).refused(2, &["--expires-at", "soon", "2027-01-31T12:00:00Z"]);
    create(&["--expires-at", "2001-01-01T00:00:00Z"]).refused(2, &["expires_at", "2001-01-01"]);
    create(&["--expires-in", "1h", "--expires-at", "2100-01-01T00:00:00Z"]).refused(2, &["--expires-in", "--expires-at"]);
    create(&["--environment", "staging"]).refused(2, &["staging", "production"]);
    create(&["--scope", "two words"]).refused(2, &["scopes", "two words"]);
}

#[test]
fn what_is_missing_is_bad_usage() {
    let place = Place::new();
    place.run(&["keys", "create", "--name", "ci"]).refused(2, &["--user"]);
    place.run(&["keys", "create", "--user", "ann", "--name", ""]).refused(2, &["name", "empty"]);
    place.run(&["keys", "update", "key_1"]).refused(2, &["--rate-limit", "--disable"]);
    place.run(&["keys", "show"]).refused(2, &["KEY_ID"]);
    place.run(&["keys", "shwo", "key_1"]).refused(2, &["show"]);
}

#[test]
fn an_unknown_key_is_named_and_the_way_to_the_known_ones() {
    let place = Place::new();
    let commands: [&[&str]; 6] = [
        &["keys", "show", "key_absent"],
        &["keys", "update", "key_absent", "--disable"],
        &["keys", "revoke", "key_absent"],
        &["keys", "rotate", "key_absent"],
        &["limits", "show", "key_absent"],
        &["limits", "reset", "key_absent"],
    ];
    for command in commands {
        place.answer(&["migrate", "up"]);
        place.run(command).refused(1, &["key_absent", "hint:", "keys list"]);
    }
}

#[test]
fn a_database_that_cannot_be_read_is_named_with_the_reason() {
    let place = Place::new();
    let file = place.path().join("gateway.db");
    for command in [&["limits", "show", "k"][..], &["usage", "top"], &["cleanup"]] {
        place.run(command).refused(1, &["gateway.db", "migrate up"]);
        assert!(!file.exists(), "a mistyped path must not become an empty store");
    }
    fs::write(&file, "this is a text and was never a database").unwrap();
    place.run(&["keys", "list"]).refused(1, &["gateway.db", "no SQLite database"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    place.run(&["keys", "list"]).refused(1, &["cannot open", "gateway.db"]);
    let nowhere = place.command(&["keys", "list"]).env("DATABASE_URL", "sqlite:/nonexistent/gateway.db").output().unwrap();
    Ran::of(nowhere).refused(1, &["/nonexistent/gateway.db"]);
}

#[test]
fn a_locked_database_is_told_within_the_timeout() {
    let place = Place::new();
    place.create(&[]);
    let holder = place.database();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    place.run(&["keys", "create", "--user", "ann", "--name", "ci"]).refused(1, &["gateway.db", "locked"]);
    holder.execute_batch("COMMIT").unwrap();
    place.create(&[]);
}

/// A database URL may hold a password, which must not reach a terminal or a log.
#[test]
fn a_bad_database_url_is_named_by_its_variable_and_not_repeated() {
    let place = Place::new();
    for url in ["mysql://ann:geheim@db/keys", "postgres://ann:geheim@db", "ann:geheim"] {
        let ran = Ran::of(place.command(&["keys", "list"]).env("DATABASE_URL", url).output().unwrap());
        ran.refused(1, &["DATABASE_URL"]);
        assert!(!ran.stderr.contains("geheim"), "{}", ran.stderr);
    }
}

#[test]
fn a_log_file_that_cannot_be_written_is_named() {
    Place::new().run(&["keys", "list", "--log-file", "/nonexistent/a.log"]).refused(1, &["/nonexistent/a.log", "No such file"]);
}

#[test]
fn help_is_an_answer() {
    let place = Place::new();
    for command in [&["--help"][..], &["keys", "create", "--help"], &["--version"]] {
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.contains("hokusai-gateway"));
    }
}
