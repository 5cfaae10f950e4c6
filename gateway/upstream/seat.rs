//! One worker's place at one server: its requests under way there, and its idle connections.
//!
//! What must stay true here: a connection is lent to one request at a time, and only one on which nothing has come since its
//! last answer is lent.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::http1::Connection;
use super::server::Server;
use crate::clock;

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
    idle: Mutex<Option<Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Seat {
    pub fn new(server: Arc<Server>) -> Self {
        Self { server, idle: Mutex::new(Some(Vec::new())) }
    }

    /// An idle connection, the one used last first.
    pub fn lend(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle();
        let idle = idle.as_mut()?;
        while let Some(mut first) = idle.pop() {
            if self.is_usable(&mut first, now) {
                return Some(first.connection);
            }
        }
        None
    }

    /// Closes what is not to be used any more.
    pub fn sweep(&self, now: Instant) {
        if let Some(idle) = self.idle().as_mut() {
            idle.retain_mut(|idle| self.is_usable(idle, now));
        }
    }

    /// Closes what is idle, and from now on whatever is given back.
    pub fn close(&self) {
        drop(self.idle().take());
    }

    fn is_usable(&self, idle: &mut Idle, now: Instant) -> bool {
        let is_of_age = self.server.is_named && idle.connection.age(now) >= LIFE_BY_NAME;
        !is_of_age && now.saturating_duration_since(idle.since) < IDLE_LIMIT && idle.connection.is_quiet()
    }

    /// For the next request.
    pub fn give_back(&self, connection: Connection) {
        if let Some(idle) = self.idle().as_mut()
            && idle.len() < IDLE_MOST
        {
            idle.push(Idle { connection, since: clock::monotonic() });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<Idle>>> {
        self.idle.lock().expect("nothing panics while it holds the connections")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::ServerAddress;
    use crate::observe::metrics::Metrics;
    use crate::upstream::stream::Stream;
    use crate::upstream::testing::address;

    fn seat(host: &str) -> Seat {
        let address: ServerAddress = address(host);
        let healthy = Metrics::default().server("app", &address.to_string());
        Seat::new(Arc::new(Server::new(address, None, healthy)))
    }

    /// A connection opened then, and its other end.
    async fn connection(opened: Instant) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (Connection::new(Stream::Tcp(near), opened), far)
    }

    #[tokio::test]
    async fn what_a_name_stood_for_is_forgotten_within_a_minute() {
        let now = clock::monotonic();
        for (host, is_kept) in [("app.internal", false), ("127.0.0.1", true), ("::1", true)] {
            let seat = seat(host);
            let (connection, _far) = connection(now).await;
            seat.give_back(connection);
            let later = now + LIFE_BY_NAME;
            seat.idle().as_mut().unwrap()[0].since = later;
            assert_eq!(seat.lend(later).is_some(), is_kept, "{host}");
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_used_for_less_than_a_minute() {
        let seat = seat("127.0.0.1");
        let (connection, _far) = connection(clock::monotonic()).await;
        seat.give_back(connection);
        assert!(seat.lend(clock::monotonic() + IDLE_LIMIT).is_none());
    }

    #[tokio::test]
    async fn a_sweep_closes_what_the_server_has_closed_and_nothing_else() {
        let seat = seat("127.0.0.1");
        let (kept, _open) = connection(clock::monotonic()).await;
        let (ended, mut far) = connection(clock::monotonic()).await;
        seat.give_back(kept);
        seat.give_back(ended);
        far.shutdown().await.unwrap();
        while seat.idle().as_ref().unwrap().len() > 1 {
            tokio::task::yield_now().await;
            seat.sweep(clock::monotonic());
        }
        assert!(seat.lend(clock::monotonic()).is_some());
    }
}
