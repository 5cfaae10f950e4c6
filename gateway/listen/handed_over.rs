//! Sockets that stood before the gateway did, bound by whoever started it: systemd's socket activation. They outlive the gateway, so
//! a restart refuses no connection.
//!
//! What must stay true here: a socket that was handed over is served, or the gateway does not start. Clients of one that
//! nobody serves would wait for ever.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Sockets that no listener of the configuration has taken yet.
#[derive(Debug, Default)]
pub struct HandedOver(Vec<(SocketAddr, TcpListener)>);

#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    #[error("socket {0} that was handed over (LISTEN_FDS) cannot be used: {1}")]
    Unusable(usize, io::Error),
    #[error("a socket for {0} was handed over (LISTEN_FDS), and no `listen` of the configuration names that address")]
    Unwanted(SocketAddr),
}

impl HandedOver {
    /// Takes what the environment tells of (`LISTEN_FDS`, `LISTEN_PID`), and takes it out of the environment: to be called once,
    /// before there is another thread.
    ///
    /// # Errors
    /// A file that is no TCP socket.
    pub fn from_environment() -> Result<Self, HandOverError> {
        let mut files = ListenFd::from_env();
        let count = files.len();
        let mut take = |number| {
            let socket = files.take_tcp_listener(number)?.expect("each is taken once");
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        };
        let taken = |number| take(number).map_err(|error| HandOverError::Unusable(number, error));
        (0..count).map(taken).collect::<Result<_, _>>().map(Self)
    }

    /// The socket that is bound to `address`.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let index = self.0.iter().position(|(bound, _)| *bound == address)?;
        Some(self.0.swap_remove(index).1)
    }

    /// To be called when every listener has taken its own.
    ///
    /// # Errors
    /// A socket that none has taken.
    pub fn none_is_left(&self) -> Result<(), HandOverError> {
        self.0.first().map_or(Ok(()), |(address, _)| Err(HandOverError::Unwanted(*address)))
    }
}
