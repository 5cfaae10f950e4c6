//! The commands as an operator or a script meets them: the real binary, in a folder of its own.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and the line says where")]

mod audit;
mod deliver;
mod failures;
mod generated;
mod import;
mod keys;
mod place;
mod rotation;
mod tables;
mod usage;
