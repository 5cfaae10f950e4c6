//! What the suites stand on: the real gateway, a scripted upstream behind it, a raw client before it.
//!
//! Plain threads and sockets: what goes over the wire is what a test wrote, byte for byte.

pub mod admin;
pub mod client;
pub mod faketime;
pub mod fleet;
pub mod front;
pub mod gateway;
pub mod http2;
pub mod http2_upstream;
pub mod nginx;
pub mod ports;
pub mod postgres;
pub mod raw_http2;
pub mod redis;
pub mod redis_clock;
pub mod settings;
pub mod tcp_proxy;
pub mod tls;
pub mod upstream;
pub mod wire;

use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;

pub use client::{Connection, Request, Response};
pub use gateway::{Gateway, Key};
pub use upstream::{Gate, Upstream};

/// How long a fact may take to come true on a busy machine. Hit only by a failing test.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `holds`, looking again and again. `what` names the fact when it never comes true.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = clock::monotonic() + PATIENCE;
    while !holds() {
        assert!(clock::monotonic() < deadline, "did not come true within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Near the end of an hour, waits for the next: a count must not begin anew within a test.
pub fn begin_within_an_hour() {
    while 3600 - clock::now().as_secs() % 3600 < 30 {
        thread::sleep(Duration::from_secs(1));
    }
}
