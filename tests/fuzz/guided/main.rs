//! The targets under libFuzzer. `tests/fuzz/run` builds and runs it.
#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> =
    LazyLock::new(|| targets::named(&std::env::var("TARGET").expect("TARGET names a target")));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
