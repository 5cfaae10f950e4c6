//! One worker's place at one server: its requests under way there, and its connections.
//!
//! What must stay true here: a connection of HTTP/1 is lent to one request at a time, and only one on which nothing has come
//! since its last answer is lent; one of HTTP/2 is shared, and another is made only when those that are there have no room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;

use super::connect::{ConnectError, connect};
use super::exchange::Connection;
use super::server::Server;
use super::{http1, http2};
use crate::clock;
use crate::config::ServerAddress;
use crate::drain::Tasks;

/// An idle connection older than this is not used any more. Below the minute that most servers wait.
const IDLE_LIMIT: Duration = Duration::from_secs(55);
/// What a name stands for may change: a connection to what it stood for is used no longer than this.
const LIFE_BY_NAME: Duration = Duration::from_mins(1);
/// Idle connections kept by one worker to one server.
const IDLE_MOST: usize = 256;

/// Whoever clones its `Arc` is a request under way: that counts them, and costs a worker no wait for another. Aligned, so that
/// no two share a line of the cache.
#[derive(Debug)]
#[repr(align(128))]
pub struct Seat {
    pub server: Arc<Server>,
    /// `None` once a reload has taken the server away.
    open: Mutex<Option<Open>>,
    /// The last connection that was made is shared. Where it is not, nobody waits for another's.
    is_shared: AtomicBool,
    /// Held while a connection is made that will be shared. With the last that did not come to be, and when.
    turn: AsyncMutex<Option<(Instant, Arc<ConnectError>)>>,
}

#[derive(Debug, Default)]
struct Open {
    idle: Vec<Idle>,
    shared: Vec<Shared>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<http1::Connection>,
    since: Instant,
}

#[derive(Debug)]
struct Shared {
    connection: Arc<http2::Connection>,
    /// When it was last lent.
    used: Instant,
}

impl Seat {
    pub fn new(server: Arc<Server>) -> Self {
        let is_shared = AtomicBool::new(matches!(server.address, ServerAddress::H2c(_)));
        Self { server, open: Mutex::new(Some(Open::default())), is_shared, turn: AsyncMutex::new(None) }
    }

    /// A connection that is open, of HTTP/1 the one used last first. `for_upgrade`: of HTTP/1 alone.
    pub fn lend(&self, now: Instant, for_upgrade: bool) -> Option<Connection> {
        let mut open = self.open();
        let Open { idle, shared } = open.as_mut()?;
        if !for_upgrade && let Some(exchange) = self.share(shared, now) {
            return Some(Connection::Http2(Box::new(exchange)));
        }
        while let Some(mut first) = idle.pop() {
            if self.is_usable(&mut first, now) {
                return Some(Connection::Http1(first.connection));
            }
        }
        None
    }

    /// A connection that was made for this request, or for another with which it is shared.
    ///
    /// # Errors
    /// As [`connect`]; the same for all who wait for the same connection.
    pub async fn connect(&self, limit: Duration, for_upgrade: bool, tasks: &Tasks) -> Result<Connection, Arc<ConnectError>> {
        if for_upgrade || !self.is_shared.load(Ordering::Relaxed) {
            return self.make(limit, for_upgrade, tasks).await;
        }
        let began = clock::monotonic();
        let mut turn = self.turn.lock().await;
        if let Some((_, error)) = turn.as_ref().filter(|(failed, _)| *failed >= began) {
            return Err(Arc::clone(error));
        }
        if let Some(connection) = self.lend(clock::monotonic(), false) {
            return Ok(connection);
        }
        let made = self.make(limit, false, tasks).await;
        *turn = made.as_ref().err().map(|error| (clock::monotonic(), Arc::clone(error)));
        made
    }

    /// Closes what is not to be used any more.
    pub fn sweep(&self, now: Instant) {
        if let Some(Open { idle, shared }) = self.open().as_mut() {
            idle.retain_mut(|idle| self.is_usable(idle, now));
            shared.retain(|shared| self.is_lendable(shared, now));
        }
    }

    /// Closes what is idle, and from now on whatever is given back.
    pub fn close(&self) {
        drop(self.open().take());
    }

    /// For the next request.
    pub fn give_back(&self, connection: Box<http1::Connection>, now: Instant) {
        if let Some(Open { idle, .. }) = self.open().as_mut()
            && idle.len() < IDLE_MOST
        {
            idle.push(Idle { connection, since: now });
        }
    }

    async fn make(&self, limit: Duration, for_upgrade: bool, tasks: &Tasks) -> Result<Connection, Arc<ConnectError>> {
        let made = connect(&self.server, limit, for_upgrade, tasks).await?;
        if !for_upgrade {
            self.is_shared.store(matches!(made, Connection::Http2(_)), Ordering::Relaxed);
        }
        if let Connection::Http2(exchange) = &made {
            let connection = Arc::clone(exchange.connection());
            if let Some(Open { shared, .. }) = self.open().as_mut() {
                shared.push(Shared { connection, used: clock::monotonic() });
            }
        }
        Ok(made)
    }

    fn share(&self, shared: &mut Vec<Shared>, now: Instant) -> Option<http2::Exchange> {
        shared.retain(|shared| self.is_lendable(shared, now));
        shared.iter_mut().find_map(|shared| {
            let exchange = shared.connection.lend()?;
            shared.used = now;
            Some(exchange)
        })
    }

    fn is_usable(&self, idle: &mut Idle, now: Instant) -> bool {
        !self.is_of_age(|| idle.connection.age(now))
            && now.saturating_duration_since(idle.since) < IDLE_LIMIT
            && idle.connection.is_quiet()
    }

    fn is_lendable(&self, shared: &Shared, now: Instant) -> bool {
        let is_idle = !shared.connection.is_used() && now.saturating_duration_since(shared.used) >= IDLE_LIMIT;
        !self.is_of_age(|| shared.connection.age(now)) && !is_idle && shared.connection.is_open()
    }

    fn is_of_age(&self, age: impl FnOnce() -> Duration) -> bool {
        self.server.is_named && age() >= LIFE_BY_NAME
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().expect("nothing panics while it holds the connections")
    }
}

#[cfg(test)]
mod tests;
