//! Binds the traffic sockets: for each address one per worker, so that the kernel spreads connections over the workers. Of a
//! socket that was handed over there is one, which the workers share.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::handed_over::HandedOver;
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
pub fn bind(
    addresses: &[SocketAddr],
    tls: Option<&Arc<Tls>>,
    workers: usize,
    handed_over: &mut HandedOver,
) -> Result<Vec<Bound>, BindError> {
    let bind = |&address| {
        let bound = match handed_over.take(address) {
            Some(socket) => share(address, &socket, workers),
            None => bind_one(address, workers),
        };
        let (address, sockets) = bound.map_err(|error| BindError { address, error })?;
        Ok(Bound { address, tls: tls.cloned(), sockets })
    };
    addresses.iter().map(bind).collect()
}

/// An address, and a socket for each worker.
type Sockets = (SocketAddr, Vec<TcpListener>);

fn share(address: SocketAddr, socket: &TcpListener, workers: usize) -> io::Result<Sockets> {
    Ok((address, (0..workers).map(|_| socket.try_clone()).collect::<io::Result<_>>()?))
}

fn bind_one(address: SocketAddr, workers: usize) -> io::Result<Sockets> {
    // SO_REUSEPORT would share the port with another gateway without a word: a plain bind notices it.
    let address = listening(address, false)?.local_addr()?;
    Ok((address, (0..workers).map(|_| listening(address, true)).collect::<io::Result<_>>()?))
}

fn listening(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` would take IPv4 too, and leave no room for `0.0.0.0` beside it.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
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
        let bound = bind(&[any], None, 3, &mut HandedOver::default()).expect("a free port");
        let address = bound[0].address;
        assert_ne!(address.port(), 0);
        assert!(bound[0].sockets.iter().all(|socket| socket.local_addr().is_ok_and(|local| local == address)));
        assert_eq!(bound[0].sockets.len(), 3);
    }

    #[test]
    fn every_address_of_ipv4_and_of_ipv6_stand_side_by_side() {
        let bind_both = |port: u16| {
            let both = [format!("0.0.0.0:{port}"), format!("[::]:{port}")].map(|address| address.parse().expect("an address"));
            bind(&both, None, 2, &mut HandedOver::default())
        };
        let is_free =
            |port: &u16| bind(&[SocketAddr::from(([127, 0, 0, 1], *port))], None, 1, &mut HandedOver::default()).is_ok();
        let port = (20_000..30_000).rev().find(is_free).expect("a free port");
        assert_eq!(bind_both(port).expect("both are free").len(), 2);
    }

    #[test]
    fn a_port_that_is_taken_is_refused_even_when_it_could_be_shared() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let first = bind(&[any], None, 1, &mut HandedOver::default()).expect("a free port");
        let refused = bind(&[first[0].address], None, 1, &mut HandedOver::default()).err().expect("the port is taken");
        assert!(refused.to_string().contains("another process has this port"), "{refused}");
    }
}
