//! Accepts connections on one socket of one worker.
//!
//! What must stay true here: an error never ends it; and what waits in the accept queue when the gateway drains is accepted
//! and served before the socket is closed, since closing it would reset them.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::per_address::{Counted, PerAddress};
use super::proxy_protocol::{self, Refused};
use super::tls::Tls;
use super::{connection, handshake};
use crate::client_address::is_trusted;
use crate::clock;
use crate::config::Scheme;
use crate::model::address::PeerAddr;
use crate::observe::metrics::{Gauge, Metrics};
use crate::proxy::client::Client;
use crate::proxy::client_stream::ClientStream;
use crate::proxy::worker::Worker;

/// After an error, as when the process has no file descriptors left.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub struct Acceptor {
    pub listener: TcpListener,
    /// `None`: cleartext.
    pub tls: Option<Arc<Tls>>,
    pub worker: Arc<Worker>,
    /// One permit per open connection, of all workers together.
    pub connections: Arc<Semaphore>,
    /// Connections without the PROXY protocol header that they should have.
    pub refused: Arc<Refused>,
    pub per_address: Arc<PerAddress>,
    /// The number of this listener's open connections.
    pub open: Arc<Gauge>,
    pub metrics: Arc<Metrics>,
}

impl Acceptor {
    /// Runs until the worker's tasks stop.
    pub async fn run(self) {
        let mut pause = FIRST_PAUSE;
        while let Some((stream, permit)) = self.next(&mut pause).await {
            self.serve(stream, permit);
        }
        self.sweep().await;
    }

    /// `None` once the worker stops.
    async fn next(&self, pause: &mut Duration) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.worker.tasks.stopping() => return None,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(connection) => {
                    *pause = FIRST_PAUSE;
                    return Some(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.metrics.accept_errors.add(1);
                    tokio::time::sleep(*pause).await;
                    *pause = (*pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Beyond `max_connections` one waits here, and those behind it in the kernel's queue.
    async fn accept(&self) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let (stream, _) = self.listener.accept().await?;
        let permit = Arc::clone(&self.connections).acquire_owned().await.expect("the semaphore is never closed");
        Ok((stream, permit))
    }

    async fn sweep(&self) {
        let waiting = std::future::poll_fn(|context| match self.listener.poll_accept(context) {
            std::task::Poll::Ready(Ok((stream, _))) => std::task::Poll::Ready(Some(stream)),
            _ => std::task::Poll::Ready(None),
        });
        let Some(stream) = waiting.await else { return };
        if let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() {
            self.serve(stream, permit);
            Box::pin(self.sweep()).await;
        }
    }

    fn serve(&self, mut stream: TcpStream, permit: OwnedSemaphorePermit) {
        let Ok(peer) = stream.peer_addr() else { return };
        let opened = clock::monotonic();
        let (worker, tls, open) = (Arc::clone(&self.worker), self.tls.clone(), self.open.hold());
        let (refused, per_address) = (Arc::clone(&self.refused), Arc::clone(&self.per_address));
        self.worker.tasks.spawn(async move {
            // Small answers go out at once.
            let _ = stream.set_nodelay(true);
            if let Some(peer) = proxy_protocol::peer(&mut stream, PeerAddr::new(peer), opened, &worker, &refused).await
                && let Ok(counted) = count(peer, &worker, &per_address)
            {
                let client = |scheme| Arc::new(Client::new(peer, scheme, opened));
                match tls {
                    None => connection::serve(ClientStream::Plain(stream), client(Scheme::Http), worker).await,
                    // Boxed, since its state would make every connection larger.
                    Some(tls) => Box::pin(handshake::serve(stream, tls, client(Scheme::Https), worker)).await,
                }
                drop(counted);
            }
            drop((open, permit));
        });
    }
}

/// To be kept as long as the connection, where its address has a limit.
fn count(peer: PeerAddr, worker: &Worker, per_address: &Arc<PerAddress>) -> Result<Option<Counted>, TooMany> {
    let live = worker.live.load();
    match live.config.server.max_connections_per_address {
        Some(limit) if !is_trusted(peer.ip(), &live.config.client_address) => {
            per_address.enter(peer, limit).map(Some).ok_or(TooMany)
        }
        _ => Ok(None),
    }
}

/// The address has as many connections as it may.
struct TooMany;
