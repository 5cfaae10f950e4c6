//! Parsers of bytes from outside, under bytes that nobody meant.
//!
//! Each target is tried with all that lies in its corpus, and with bytes made from it, the same ones in each run: a change is
//! judged by what it does, not by luck. What fails is written to the corpus, where it stays as a test. `tests/fuzz/run` looks
//! further, guided by what of the code is reached.

mod mutation;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use fastrand::Rng;

/// Inputs made for each target; the slowest takes two seconds for them.
const INPUTS: usize = 5000;
const SEED: u64 = 0x686b;

#[test]
fn what_is_read_as_a_key_is_cut_out_and_nothing_else() {
    fuzz("keys", &[]);
}

#[test]
fn the_client_is_who_the_last_trusted_proxy_says_by_x_forwarded_for() {
    fuzz("forwarded_for", &[]);
}

#[test]
fn the_client_is_who_the_last_trusted_proxy_says_by_forwarded() {
    fuzz("forwarded", &[]);
}

#[test]
fn a_path_takes_the_route_that_every_app_sees_it_under() {
    fuzz("paths", &[]);
}

#[test]
fn a_proxy_protocol_header_is_the_same_however_it_is_cut() {
    fuzz("proxy_headers", &[]);
}

#[test]
fn a_damaged_journal_yields_nothing_that_was_not_written() {
    fuzz("journal", &[]);
}

#[test]
fn a_file_is_a_configuration_or_has_problems_with_their_places() {
    fuzz("configuration", &["tests/config/valid", "tests/config/invalid"]);
}

#[test]
fn an_answer_is_the_same_however_it_is_cut() {
    fuzz("answers", &[]);
}

#[test]
fn frames_are_the_same_however_they_are_cut() {
    fuzz("frames", &[]);
}

fn fuzz(name: &str, more_seeds: &[&str]) {
    let (target, corpus) = (targets::named(name), Path::new("tests/fuzz/corpus").join(name));
    let mut seeds = Vec::new();
    for file in more_seeds.iter().map(Path::new).chain([corpus.as_path()]).flat_map(files) {
        // The last one that is named is the one that fails.
        eprintln!("{}", file.display());
        let seed = fs::read(&file).expect("it can be read");
        target(&seed);
        seeds.push(seed);
    }
    assert!(!seeds.is_empty(), "{} has nothing to begin with", corpus.display());
    let mut random = Rng::with_seed(SEED);
    for _ in 0..INPUTS {
        let bytes = mutation::mutated(&seeds, &mut random);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
            let found = corpus.join(format!("found-{:08x}", crc32fast::hash(&bytes)));
            fs::write(&found, &bytes).expect("the corpus can be written to");
            eprintln!("{}: {:?}", found.display(), String::from_utf8_lossy(&bytes));
            resume_unwind(panic);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    files
}
