//! The gateway from outside, one file for each guarantee.

#[path = "../support/mod.rs"]
mod support;

mod harness;
