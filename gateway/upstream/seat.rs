//! One worker's place at one server: its requests under way there, and its idle connections.
//!
//! What must stay true here: a connection is lent to one request at a time, and only one on which nothing has come since its
//! last answer is lent.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::http1::Connection;
use super::server::Server;
use crate::clock;

/// An idle connection older than this is not used any more. Below the minute that most servers wait.
const IDLE_LIMIT: Duration = Duration::from_secs(55);
/// Idle connections kept by one worker to one server.
const IDLE_MOST: usize = 256;

/// Whoever clones its `Arc` is a request under way: that counts them, and costs a worker no wait for another. Aligned, so that
/// no two share a line of the cache.
#[derive(Debug)]
#[repr(align(128))]
pub struct Seat {
    pub server: Arc<Server>,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Seat {
    pub fn new(server: Arc<Server>) -> Self {
        Self { server, idle: Mutex::default() }
    }

    /// An idle connection, the one used last first.
    pub fn lend(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the connections");
        while let Some(Idle { connection, since }) = idle.pop() {
            if now.duration_since(since) < IDLE_LIMIT && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// For the next request.
    pub fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the connections");
        if idle.len() < IDLE_MOST {
            idle.push(Idle { connection, since: clock::monotonic() });
        }
    }
}
