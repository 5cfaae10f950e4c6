//! Connections to upstream servers, one worker's own.
//!
//! What must stay true here: a connection is lent to one request at a time, and only one that hyper says is ready for a
//! request is lent; what is left over on it after an answer (bytes nobody asked for) makes hyper close it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::balance::Server;
use super::request_body::RequestBody;
use crate::clock;
use crate::config::ServerAddress;
use crate::drain::Tasks;

/// An idle connection older than this is not used any more. Below the minute that most servers wait.
const IDLE_LIMIT: Duration = Duration::from_secs(55);
/// Idle connections kept to one server.
const IDLE_MOST: usize = 256;

#[derive(Debug, Default)]
pub struct Pool {
    idle: Mutex<BTreeMap<ServerAddress, Vec<Idle>>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

/// A connection in use. Dropped without [`Pool::give_back`] it is closed.
#[derive(Debug)]
pub struct Connection {
    pub sender: SendRequest<RequestBody>,
    pub server: Arc<Server>,
    /// It has served a request before.
    pub reused: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}: {1}")]
    Refused(ServerAddress, std::io::Error),
    #[error("{0}: no connection within {1:?}")]
    Timeout(ServerAddress, Duration),
}

impl Pool {
    /// An idle connection, the one used last first.
    pub fn lend(&self, server: &Arc<Server>) -> Option<Connection> {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the pool");
        let connections = idle.get_mut(&server.address)?;
        let now = clock::monotonic();
        while let Some(Idle { sender, since }) = connections.pop() {
            if sender.is_ready() && now.duration_since(since) < IDLE_LIMIT {
                return Some(Connection { sender, server: Arc::clone(server), reused: true });
            }
        }
        None
    }

    /// A new connection.
    ///
    /// # Errors
    /// After a name that does not resolve, a refusal or `limit`.
    pub async fn connect(&self, server: &Arc<Server>, limit: Duration) -> Result<Connection, ConnectError> {
        let connected = match timeout(limit, self.open(server)).await {
            Ok(opened) => opened.map_err(|error| ConnectError::Refused(server.address.clone(), error)),
            Err(_) => Err(ConnectError::Timeout(server.address.clone(), limit)),
        };
        server.healthy.set(u64::from(connected.is_ok()));
        connected
    }

    /// For the next request, when the last one's answer was read to its end.
    pub fn give_back(&self, connection: Connection) {
        let Connection { sender, server, .. } = connection;
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().expect("nothing panics while it holds the pool");
        let idle_here = match idle.get_mut(&server.address) {
            Some(connections) => connections,
            None => idle.entry(server.address.clone()).or_default(),
        };
        if idle_here.len() < IDLE_MOST {
            idle_here.push(Idle { sender, since: clock::monotonic() });
        }
    }

    async fn open(&self, server: &Arc<Server>) -> std::io::Result<Connection> {
        let ServerAddress { host, port } = &server.address;
        // An address needs no resolver, which would cost a thread.
        let stream = match host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect((address, *port)).await?,
            Err(_) => TcpStream::connect((host.as_str(), *port)).await?,
        };
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        builder.writev(false);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        self.tasks.spawn(async move {
            // Its errors reach the request that is under way on it.
            let _ = connection.with_upgrades().await;
        });
        Ok(Connection { sender, server: Arc::clone(server), reused: false })
    }
}
