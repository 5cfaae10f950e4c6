//! Connections to upstream servers, one worker's own.
//!
//! What must stay true here: a connection is lent to one request at a time, and only one on which nothing has come since its
//! last answer is lent. Connections are kept only to servers that the configuration has.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::balance::Server;
use super::http1::Connection;
use crate::clock;
use crate::config::ServerAddress;

/// An idle connection older than this is not used any more. Below the minute that most servers wait.
const IDLE_LIMIT: Duration = Duration::from_secs(55);
/// Idle connections kept to one server.
const IDLE_MOST: usize = 256;

#[derive(Debug)]
pub struct Pool {
    /// With an entry for each server there is.
    idle: Mutex<BTreeMap<ServerAddress, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}: {1}")]
    Refused(ServerAddress, std::io::Error),
    #[error("{0}: no connection within {1:?}")]
    Timeout(ServerAddress, Duration),
}

impl Pool {
    pub fn new<'a>(servers: impl Iterator<Item = &'a ServerAddress>) -> Self {
        Self { idle: Mutex::new(servers.map(|server| (server.clone(), Vec::new())).collect()) }
    }

    /// These are the servers from now on. What is idle to others is closed now, what is lent once its answer is over.
    pub fn keep_only<'a>(&self, servers: impl Iterator<Item = &'a ServerAddress>) {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the pool");
        let mut kept = BTreeMap::new();
        for server in servers {
            kept.entry(server.clone()).or_insert_with(|| idle.remove(server).unwrap_or_default());
        }
        let gone = std::mem::replace(&mut *idle, kept);
        drop(idle);
        drop(gone);
    }

    /// An idle connection, the one used last first.
    pub fn lend(&self, server: &Server, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the pool");
        let connections = idle.get_mut(&server.address)?;
        while let Some(Idle { connection, since }) = connections.pop() {
            if now.duration_since(since) < IDLE_LIMIT && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// A new connection.
    ///
    /// # Errors
    /// After a name that does not resolve, a refusal or `limit`.
    pub async fn connect(&self, server: &Server, limit: Duration) -> Result<Connection, ConnectError> {
        let connected = match timeout(limit, open(&server.address)).await {
            Ok(opened) => opened.map_err(|error| ConnectError::Refused(server.address.clone(), error)),
            Err(_) => Err(ConnectError::Timeout(server.address.clone(), limit)),
        };
        note(server, &connected);
        connected
    }

    /// For the next request.
    pub fn give_back(&self, server: &Server, connection: Connection) {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the pool");
        if let Some(idle_here) = idle.get_mut(&server.address)
            && idle_here.len() < IDLE_MOST
        {
            idle_here.push(Idle { connection, since: clock::monotonic() });
        }
    }
}

/// Says so when a server goes away or comes back, not at each request meanwhile.
fn note(server: &Server, connected: &Result<Connection, ConnectError>) {
    let was_healthy = server.healthy.get() == 1;
    match connected {
        Err(error) if was_healthy => tracing::warn!(%error, "an upstream server cannot be reached"),
        Ok(_) if !was_healthy => tracing::info!(server = %server.address, "an upstream server is reached again"),
        _ => {}
    }
    server.healthy.set(u64::from(connected.is_ok()));
}

async fn open(ServerAddress { host, port }: &ServerAddress) -> std::io::Result<Connection> {
    // An address needs no resolver, which would cost a thread.
    let stream = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, *port)).await?,
        Err(_) => TcpStream::connect((host.as_str(), *port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(Connection::new(stream))
}
