//! Processes whose wall clock is not the machine's: libfaketime, preloaded. How long things take stays true.

use std::fs;
use std::path::PathBuf;

use hokusai_gateway::model::timestamp::Timestamp;

/// The environment of a process whose clock is `ahead` of the machine's, or behind it. Seconds.
///
/// # Panics
/// When libfaketime is not installed.
pub fn environment(ahead: f64) -> Vec<(&'static str, String)> {
    let library = library().expect("libfaketime is installed");
    let dont_fake_durations = ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned());
    vec![("LD_PRELOAD", library.to_string_lossy().into_owned()), ("FAKETIME", format!("{ahead:+.3}")), dont_fake_durations]
}

/// Seconds that a clock has to be ahead so that it shows a full hour `secs` after `now`.
pub fn ahead_of_the_hour(now: Timestamp, secs: f64) -> f64 {
    let millis = |millis: u64| u32::try_from(millis).map(f64::from).expect("less than an hour");
    3600.0 - millis(now.as_millis() % 3_600_000) / 1000.0 - secs
}

/// Each architecture has a folder of its own.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists())
}
