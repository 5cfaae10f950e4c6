//! New connections to servers.
//!
//! What must stay true here: a name is resolved for each of them; each address it has is tried, and none takes the time of all.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::exchange::Connection;
use super::server::{Server, Tls};
use super::stream::Stream;
use super::{http1, http2};
use crate::clock;
use crate::config::{HostPort, ServerAddress};
use crate::drain::Tasks;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection: {0}")]
    Refused(io::Error),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
}

/// A new connection, of HTTP/1.1 where it is `for_upgrade`. What came of it is noted with the server. One that is shared is
/// driven by a task among `tasks`.
///
/// # Errors
/// After a name that does not resolve, a refusal or `limit`; of HTTP/2, also where the server speaks something else.
pub async fn connect(server: &Server, limit: Duration, for_upgrade: bool, tasks: &Tasks) -> Result<Connection, ConnectError> {
    let opened = timeout(limit, open(server, limit, for_upgrade, tasks)).await;
    let connected = match opened.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
        Ok(connection) => Ok(connection),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(ConnectError::Timeout(limit)),
        Err(error) => Err(ConnectError::Refused(error)),
    };
    server.connected(connected.as_ref().err().map(|error| error as &dyn fmt::Display));
    connected
}

async fn open(server: &Server, limit: Duration, for_upgrade: bool, tasks: &Tasks) -> io::Result<Connection> {
    let (stream, is_http2) = match &server.address {
        ServerAddress::Http(place) => (Stream::Tcp(reach(place, limit).await?), false),
        ServerAddress::H2c(place) => (Stream::Tcp(reach(place, limit).await?), true),
        ServerAddress::Https(place) => {
            let Tls { client, client_of_http1, name } = server.tls.as_ref().expect("a server that is https:// has it");
            let tls = TlsConnector::from(Arc::clone(if for_upgrade { client_of_http1 } else { client }));
            let stream = tls.connect(name.clone(), reach(place, limit).await?).await?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Stream::Tls(Box::new(stream)), is_http2)
        }
        ServerAddress::Unix(path) => (Stream::Unix(UnixStream::connect(path).await?), false),
    };
    match is_http2 {
        true => Ok(Connection::Http2(Box::new(http2::Connection::open(stream, tasks).await?))),
        false => Ok(Connection::Http1(Box::new(http1::Connection::new(stream, clock::monotonic())))),
    }
}

async fn reach(HostPort { host, port }: &HostPort, limit: Duration) -> io::Result<TcpStream> {
    // An address needs no resolver, which would cost a thread.
    let stream = if let Ok(address) = host.parse::<IpAddr>() {
        TcpStream::connect((address, *port)).await?
    } else {
        let began = clock::monotonic();
        let addresses: Vec<_> = lookup_host((host.as_str(), *port)).await?.collect();
        first_of(&addresses, limit.saturating_sub(clock::monotonic().duration_since(began))).await?
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One after the other; each has an equal share of the time that is left.
async fn first_of(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let began = clock::monotonic();
    let mut last = ErrorKind::NotFound.into();
    for (untried, address) in (1..=addresses.len()).rev().zip(addresses) {
        let left = limit.saturating_sub(clock::monotonic().duration_since(began));
        let share = left / u32::try_from(untried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// Takes no connection and refuses none: its queue is full.
    async fn hole() -> (SocketAddr, Socket, TcpStream) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&loopback().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let fills = TcpStream::connect(address).await.unwrap();
        (address, socket, fills)
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried_and_none_takes_the_time_of_all() {
        let (hole, _socket, _fills) = hole().await;
        let refusing = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
        let good = TcpListener::bind(loopback()).unwrap();
        let good_address = good.local_addr().unwrap();
        let limit = Duration::from_secs(3);
        let began = clock::monotonic();
        let stream = first_of(&[refusing, hole, good_address], limit).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good_address);
        let took = clock::monotonic().duration_since(began);
        assert!(took >= limit / 2 && took < limit, "{took:?}");
        let error = first_of(&[hole, refusing], limit / 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = first_of(&[refusing, hole], limit / 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_no_panic() {
        assert_eq!(first_of(&[], Duration::from_secs(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
