//! Ports for servers that tests start.

#![allow(dead_code, reason = "each test binary uses another part of it")]

use std::mem;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// An address where nobody listens, and nobody will who does not ask for this very port: not another test that is given a free
/// one meanwhile. A server with `SO_REUSEADDR` can listen there.
pub fn reserve() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("Linux knows it");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket());
    // Bound, but not listening, until the test's process ends.
    mem::forget(socket);
    address.expect("a bound socket has an address")
}
