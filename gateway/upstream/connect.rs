//! New connections to servers.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http1::Connection;
use super::server::Server;
use crate::config::ServerAddress;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}: {1}")]
    Refused(ServerAddress, std::io::Error),
    #[error("{0}: no connection within {1:?}")]
    Timeout(ServerAddress, Duration),
}

/// A new connection. What came of it is noted with the server.
///
/// # Errors
/// After a name that does not resolve, a refusal or `limit`.
pub async fn connect(server: &Server, limit: Duration) -> Result<Connection, ConnectError> {
    let connected = match timeout(limit, open(&server.address)).await {
        Ok(opened) => opened.map_err(|error| ConnectError::Refused(server.address.clone(), error)),
        Err(_) => Err(ConnectError::Timeout(server.address.clone(), limit)),
    };
    server.connected(connected.as_ref().err().map(|error| error as &dyn fmt::Display));
    connected
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
