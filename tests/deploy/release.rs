//! How a release is compiled.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::succeed;

/// What rustc would be called with.
fn called(arguments: &[&str], watch_into: Option<&str>) -> String {
    let mut wrapper = Command::new(".cargo/rustc");
    wrapper.arg("echo").args(arguments).env_remove("WATCH_INTO").envs(watch_into.map(|folder| ("WATCH_INTO", folder)));
    succeed(&mut wrapper)
}

#[test]
fn a_release_is_compiled_by_the_profile_and_nothing_else_is() {
    let release = ["--crate-name", "a", "-C", "opt-level=3", "-C", "lto"];
    let by_profile = called(&release, None);
    assert!(
        by_profile.starts_with(&release.join(" ")) && by_profile.contains("-Cprofile-use=.cargo/release.profdata"),
        "{by_profile}"
    );
    for other in [&["-vV"][..], &["--crate-name", "a", "-C", "opt-level=1"], &["--crate-name", "opt-level=3"]] {
        assert_eq!(called(other, None).trim(), other.join(" "));
    }
}

#[test]
fn a_release_that_is_watched_is_not_compiled_by_what_was_seen_before() {
    let watched = called(&["-C", "opt-level=3"], Some("/seen"));
    assert!(watched.contains("-Cprofile-generate=/seen") && !watched.contains("profile-use"), "{watched}");
}

/// Cargo takes it from there, in an image too.
#[test]
fn the_profile_is_there_and_cargo_is_told_of_it() {
    let config = fs::read_to_string(".cargo/config.toml").expect("a file");
    assert!(config.contains("rustc-wrapper = \".cargo/rustc\""), "{config}");
    assert!(Path::new(".cargo/release.profdata").metadata().expect("a file").len() > 100_000);
    assert!(fs::read_to_string(".dockerignore").expect("a file").lines().any(|line| line == "!.cargo"));
}
