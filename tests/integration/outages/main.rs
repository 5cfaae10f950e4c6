//! The rows of docs/outages.md: real servers are killed, frozen, slowed and replaced, with load on.
//!
//! What must stay true here: each test is one row and has servers of its own, so that it may do to them what it likes.

#[path = "../../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other suites use the rest")]
mod support;

mod both;
mod failover;
mod fleet;
mod load;
mod postgres;
mod redis;
mod revocation;
mod usage;
