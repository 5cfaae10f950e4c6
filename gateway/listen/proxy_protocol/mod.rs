//! Who is at the other end, where a proxy before us says so ahead of everything else (`server.proxy_protocol`).
//!
//! What must stay true here: only a trusted proxy is believed, and a trusted proxy has to say it, since a client that gets through
//! without a header would pass for the proxy itself. Not a byte beyond the header is taken from the socket.

pub mod header;

use std::io;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::timer::impatience;
use crate::client_address::is_trusted;
use crate::clock;
use crate::model::address::PeerAddr;
use crate::observe::seldom::Seldom;
use crate::proxy::worker::Worker;
pub use header::is_announced;
use header::{LONGEST, NoHeader};

/// Connections that were closed for the want of a header.
#[derive(Debug, Default)]
pub struct Refused(Seldom);

#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error(transparent)]
    NoHeader(#[from] NoHeader),
    #[error("its PROXY protocol header did not arrive in time")]
    Slow,
    #[error("its connection ended within the PROXY protocol header")]
    Ended,
    /// As balancers do to see whether anybody listens.
    #[error("it left without a word")]
    Silent,
}

/// Whom requests on this connection come from; `None`: it is to be closed. Others than trusted proxies are who they are.
/// `handshake_timeout` runs from `opened`, and what the header leaves of it is for what follows.
pub async fn peer(
    stream: &mut TcpStream,
    peer: PeerAddr,
    opened: Instant,
    worker: &Worker,
    refused: &Refused,
) -> Option<PeerAddr> {
    let config = worker.live.load().config.clone();
    if !config.server.proxy_protocol || !is_trusted(peer.ip(), &config.client_address) {
        return Some(peer);
    }
    let patience = config.server.handshake_timeout;
    let deadline = (!patience.is_zero()).then(|| opened + patience);
    let told = tokio::select! {
        told = Box::pin(receive(stream)) => told,
        () = impatience(deadline, worker) => Err(Missing::Slow),
    };
    match told {
        Ok(header) => Some(header.source.map_or(peer, PeerAddr::new)),
        Err(missing) => {
            refused.tell(peer, &missing);
            None
        }
    }
}

/// Looks at what has come, and takes as much of it as belongs to the header.
async fn receive(stream: &mut TcpStream) -> Result<header::Header, Missing> {
    let mut bytes = vec![0; LONGEST];
    let mut taken = 0;
    loop {
        let come = match stream.peek(&mut bytes[taken..]).await {
            Ok(0) | Err(_) if taken == 0 => return Err(Missing::Silent),
            Ok(0) | Err(_) => return Err(Missing::Ended),
            Ok(come) => come,
        };
        let header = header::parse(&bytes[..taken + come])?;
        let upto = header.map_or(taken + come, |header| header.length);
        let took: io::Result<usize> = stream.read_exact(&mut bytes[taken..upto]).await;
        taken += took.map_err(|_| Missing::Ended)?;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

impl Refused {
    fn tell(&self, peer: PeerAddr, missing: &Missing) {
        if matches!(missing, Missing::Silent) {
            return;
        }
        if let Some(times) = self.0.note(clock::monotonic()) {
            tracing::warn!(proxy = %peer.ip(), why = %missing, times, "a connection of a trusted proxy was closed");
        }
    }
}
