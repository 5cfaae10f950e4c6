//! The doors: sockets are bound, connections accepted, and HTTP spoken on them.

pub mod accept;
pub mod bind;
pub mod connection;
mod guarded_io;
pub mod handed_over;
mod handshake;
pub mod http2;
pub mod per_address;
pub mod proxy_protocol;
mod timer;
pub mod tls;
