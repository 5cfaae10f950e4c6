//! Binds the traffic sockets: for each address one per worker, so that the kernel spreads connections over the workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::tls::Tls;

/// Connections that may wait to be accepted; the kernel cuts it to its own `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}{}", hint(.error))]
pub struct BindError {
    pub address: SocketAddr,
    pub error: io::Error,
}

/// An address that is bound, with one socket for each worker.
pub struct Bound {
    /// With the port that the system chose, where 0 was asked for.
    pub address: SocketAddr,
    /// `None`: cleartext.
    pub tls: Option<Arc<Tls>>,
    pub sockets: Vec<TcpListener>,
}

/// # Errors
/// An address that is in use, by whomever, or not ours to take.
pub fn bind(addresses: &[SocketAddr], tls: Option<&Arc<Tls>>, workers: usize) -> Result<Vec<Bound>, BindError> {
    let bound = |&address| bind_one(address, tls.cloned(), workers).map_err(|error| BindError { address, error });
    addresses.iter().map(bound).collect()
}

fn bind_one(address: SocketAddr, tls: Option<Arc<Tls>>, workers: usize) -> io::Result<Bound> {
    // SO_REUSEPORT would share the port with another gateway without a word: a plain bind notices it.
    let address = TcpListener::bind(address)?.local_addr()?;
    let sockets = (0..workers).map(|_| shared(address)).collect::<io::Result<_>>()?;
    Ok(Bound { address, tls, sockets })
}

fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port: stop it, or change `server.listen`",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let bound = bind(&[any], None, 3).expect("a free port");
        let address = bound[0].address;
        assert_ne!(address.port(), 0);
        assert!(bound[0].sockets.iter().all(|socket| socket.local_addr().is_ok_and(|local| local == address)));
        assert_eq!(bound[0].sockets.len(), 3);
    }

    #[test]
    fn a_port_that_is_taken_is_refused_even_when_it_could_be_shared() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let first = bind(&[any], None, 1).expect("a free port");
        let refused = bind(&[first[0].address], None, 1).err().expect("the port is taken");
        assert!(refused.to_string().contains("another process has this port"), "{refused}");
    }
}
