//! What stands in `deploy/` and on the page that leads there from nginx, held against the programs it is written for: systemd,
//! Prometheus, nginx and the gateway itself. `tests/run` installs them. Docker is not among them.

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the suites share it, and none uses all of it")]
mod support;

mod dashboard;
mod docker;
mod from_nginx;
mod metrics;
mod release;
mod rules;
mod systemd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hokusai_gateway::config::{self, Config};
use yaml_rust2::{Yaml, YamlLoader};

/// The longest that what follows the drain may take: leases go back, usage is written, tasks end.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(15);

#[test]
fn every_configuration_passes_check() {
    let files = files_below(Path::new("deploy"), "toml");
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        let mut check = Command::new(env!("CARGO_BIN_EXE_hokusai-gateway"));
        succeed(check.env_clear().arg("check").arg("--config").arg(file));
    }
}

/// What a program printed. It must have succeeded.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}; ./tests/run installs it"));
    let says = [output.stdout, output.stderr].map(|stream| String::from_utf8_lossy(&stream).into_owned()).concat();
    assert!(output.status.success(), "{command:?}: {says}");
    says
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn configuration(path: &str) -> Config {
    config::load(Path::new(path), &|_| None).unwrap_or_else(|error| panic!("{error}"))
}

fn yaml(path: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(documents.len(), 1, "{path} is one document");
    documents.remove(0)
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| match path.is_dir() {
        true => files_below(&path, extension),
        false => vec![path],
    };
    let mut files: Vec<_> = entries.flat_map(below).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files
}
