//! The threads that serve requests: each with a runtime, sockets, upstream connections and counts of its own.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::auth::lookup::Lookup;
use crate::drain::Tasks;
use crate::limits::Limiter;
use crate::limits::pace::Paces;
use crate::listen::accept::Acceptor;
use crate::listen::bind::Bound;
use crate::listen::per_address::PerAddress;
use crate::listen::proxy_protocol::Refused;
use crate::listen::tls::Tls;
use crate::observe::metrics::Metrics;
use crate::observe::refusals::Refusals;
use crate::proxy::worker::{Live, Worker};
use crate::usage::Usage;

pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    /// What each serves with.
    all: Vec<Arc<Worker>>,
    /// How long the drain may take; `None` until it begins.
    drain: watch::Sender<Option<Duration>>,
    /// Of the workers that have not ended: how many connections each cut.
    ended: Vec<oneshot::Receiver<usize>>,
    cut: usize,
}

/// One worker's, with the addresses they listen on, and what TLS is spoken with there.
type Sockets = Vec<(SocketAddr, Option<Arc<Tls>>, StdListener)>;

/// What every worker shares.
struct Shared<'a> {
    lookup: &'a Arc<Lookup>,
    limiter: &'a Arc<Limiter>,
    usage: Option<&'a Usage>,
    metrics: &'a Arc<Metrics>,
    refusals: &'a Arc<Refusals>,
    connections: Arc<Semaphore>,
    paces: Arc<Paces>,
    refused: Arc<Refused>,
    per_address: Arc<PerAddress>,
}

impl Workers {
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn start(
        live: &Live,
        bound: Vec<Bound>,
        lookup: &Arc<Lookup>,
        limiter: &Arc<Limiter>,
        usage: Option<&Usage>,
        metrics: &Arc<Metrics>,
        refusals: &Arc<Refusals>,
    ) -> io::Result<Self> {
        let rules = &live.config.server;
        let connections = Arc::new(Semaphore::new(rules.max_connections));
        let shared = Shared {
            lookup,
            limiter,
            usage,
            metrics,
            refusals,
            connections,
            paces: Arc::default(),
            refused: Arc::default(),
            per_address: Arc::default(),
        };
        let (drain, drained) = watch::channel(None);
        let mut workers = Self { threads: Vec::new(), all: Vec::new(), drain, ended: Vec::new(), cut: 0 };
        for (number, sockets) in by_worker(bound, rules.workers.get()).into_iter().enumerate() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let worker = Arc::new(shared.worker(number, live));
            workers.all.push(Arc::clone(&worker));
            let acceptors = shared.acceptors(&runtime, &worker, sockets)?;
            let (end, ended) = oneshot::channel();
            workers.ended.push(ended);
            let drained = drained.clone();
            let body = move || {
                let cut = runtime.block_on(serve(worker, acceptors, drained));
                runtime.shutdown_background();
                // Nobody asks when the start has failed.
                let _ = end.send(cut);
            };
            workers.threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(body)?);
        }
        Ok(workers)
    }

    /// Requests go by `live` from now on; those under way keep what they began with.
    pub fn renew(&self, live: &Live) {
        self.all.iter().for_each(|worker| worker.renew(live));
    }

    /// Stops accepting; what is under way may go on for `limit`. Called again it changes the limit.
    pub fn drain(&self, limit: Duration) {
        self.drain.send_replace(Some(limit));
        self.all.iter().for_each(|worker| worker.tasks.stop());
    }

    /// Waits for the end of the drain. Returns how many connections were cut. May be dropped and called again.
    pub async fn ended(&mut self) -> usize {
        while let Some(ended) = self.ended.last_mut() {
            self.cut += ended.await.unwrap_or(0);
            self.ended.pop();
        }
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        self.cut
    }
}

impl Shared<'_> {
    fn worker(&self, number: usize, live: &Live) -> Worker {
        Worker {
            number,
            live: ArcSwap::from_pointee(live.clone()),
            lookup: Arc::clone(self.lookup),
            limiter: Arc::clone(self.limiter),
            paces: Arc::clone(&self.paces),
            shard: self.metrics.shard(),
            refusals: Arc::clone(self.refusals),
            recorder: self.usage.map(Usage::recorder),
            tasks: Tasks::new(),
        }
    }

    fn acceptors(&self, runtime: &Runtime, worker: &Arc<Worker>, sockets: Sockets) -> io::Result<Vec<Acceptor>> {
        let _entered = runtime.enter();
        let acceptor = |(address, tls, socket): (SocketAddr, Option<Arc<Tls>>, StdListener)| {
            Ok(Acceptor {
                listener: TcpListener::from_std(socket)?,
                tls,
                worker: Arc::clone(worker),
                connections: Arc::clone(&self.connections),
                refused: Arc::clone(&self.refused),
                per_address: Arc::clone(&self.per_address),
                open: self.metrics.listener(&address.to_string()),
                metrics: Arc::clone(self.metrics),
            })
        };
        sockets.into_iter().map(acceptor).collect()
    }
}

/// One thread's life. Returns how many connections were cut.
async fn serve(worker: Arc<Worker>, acceptors: Vec<Acceptor>, mut drain: watch::Receiver<Option<Duration>>) -> usize {
    for acceptor in acceptors {
        worker.tasks.spawn(acceptor.run());
    }
    loop {
        let limit = *drain.borrow_and_update();
        let ended = async {
            match limit {
                Some(limit) => worker.tasks.wait(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            cut = ended => return cut,
            changed = drain.changed() => {
                // The gateway failed to start: nobody will ask for a drain.
                if changed.is_err() {
                    return 0;
                }
            }
        }
    }
}

/// From each address's sockets to each worker's.
fn by_worker(bound: Vec<Bound>, workers: usize) -> Vec<Sockets> {
    let mut by_worker: Vec<Sockets> = (0..workers).map(|_| Vec::new()).collect();
    for Bound { address, tls, sockets } in bound {
        for (sockets_here, socket) in by_worker.iter_mut().zip(sockets) {
            sockets_here.push((address, tls.clone(), socket));
        }
    }
    by_worker
}
