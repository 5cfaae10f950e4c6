//! The servers of one upstream, and which of them a request goes to.
//!
//! What must stay true here: a request may go on to every server, once to each, and to those that are left out last. Choosing
//! writes to nothing that another worker writes to, but the turn of an upstream with several servers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::health;
use super::seat::Seat;
use super::server::Server;
use crate::clock;
use crate::config::{Balance, ServerAddress, Upstream};
use crate::drain::Tasks;
use crate::observe::metrics::{Metrics, UpstreamLabel};

/// Between two looks at the idle connections.
const SWEEP: Duration = Duration::from_secs(5);

/// An upstream with what the gateway knows of its servers.
#[derive(Debug)]
pub struct Servers {
    pub upstream: Arc<Upstream>,
    pub label: UpstreamLabel,
    balance: Balance,
    /// By worker, then by server.
    seats: Vec<Vec<Arc<Seat>>>,
    turn: AtomicUsize,
    is_watched: AtomicBool,
    /// Cancelled when they are dropped.
    gone: CancellationToken,
}

impl Servers {
    pub fn new(upstream: Arc<Upstream>, metrics: &Metrics, workers: usize) -> Self {
        let server = |address: &ServerAddress| {
            let healthy = metrics.server(&upstream.name, &address.to_string());
            Arc::new(Server::new(address.clone(), upstream.tls.as_ref(), healthy))
        };
        let servers: Vec<_> = upstream.servers.iter().map(server).collect();
        let seats = || servers.iter().map(|server| Arc::new(Seat::new(Arc::clone(server)))).collect();
        Self {
            label: metrics.upstream(&upstream.name),
            // Where there is one, nothing is counted.
            balance: if servers.len() == 1 { Balance::RoundRobin } else { upstream.balance },
            seats: (0..workers).map(|_| seats()).collect(),
            turn: AtomicUsize::new(0),
            is_watched: AtomicBool::new(false),
            upstream,
            gone: CancellationToken::new(),
        }
    }

    /// Begins to watch them, in the background of the caller, until they are dropped or `tasks` are to end. Again changes nothing.
    pub fn watch(&self, tasks: &Tasks) {
        if self.is_watched.swap(true, Ordering::Relaxed) {
            return;
        }
        for seat in &self.seats[0] {
            self.keep_up(health::watch(Arc::clone(&seat.server), Arc::clone(&self.upstream), tasks.clone()), tasks);
        }
        self.keep_up(sweep(self.seats.iter().flatten().map(Arc::downgrade).collect()), tasks);
    }

    fn keep_up(&self, work: impl Future<Output = ()> + Send + 'static, tasks: &Tasks) {
        let (gone, stop) = (self.gone.clone(), tasks.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = gone.cancelled() => {}
                () = stop.stopping() => {}
            }
        });
    }

    /// The servers for one request of a worker, the best first.
    pub fn candidates(&self, worker: usize) -> Candidates<'_> {
        let seats = &*self.seats[worker % self.seats.len()];
        let turn = if seats.len() == 1 { 0 } else { self.turn.fetch_add(1, Ordering::Relaxed) };
        Candidates { servers: self, seats, turn, tried: 0 }
    }

    /// `Host` for a client that sent none.
    pub fn host(&self) -> HeaderValue {
        self.seats[0][0].server.host.clone()
    }

    /// Requests under way, those of every worker; a constant more for the seats themselves.
    fn load(&self, at: usize) -> usize {
        match self.balance {
            Balance::RoundRobin => 0,
            Balance::LeastConnections => self.seats.iter().map(|seats| Arc::strong_count(&seats[at])).sum(),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.gone.cancel();
        // A request under way may hold a seat for long.
        self.seats.iter().flatten().for_each(|seat| seat.close());
    }
}

/// Closes idle connections that are not to be used any more. Weakly held, the seats count no request for it.
async fn sweep(seats: Vec<Weak<Seat>>) {
    loop {
        sleep(SWEEP).await;
        seats.iter().filter_map(Weak::upgrade).for_each(|seat| seat.sweep(clock::monotonic()));
    }
}

/// What is left to try for one request.
#[derive(Debug)]
pub struct Candidates<'a> {
    servers: &'a Servers,
    /// The worker's own.
    seats: &'a [Arc<Seat>],
    turn: usize,
    /// A bit for each server; there are at most 64.
    tried: u64,
}

impl Candidates<'_> {
    pub fn left(&self) -> usize {
        self.seats.len() - self.tried.count_ones() as usize
    }
}

impl Iterator for Candidates<'_> {
    type Item = Arc<Seat>;

    /// Of those not tried yet, the one with the least to do; of equals, the next in turn.
    fn next(&mut self) -> Option<Arc<Seat>> {
        let count = self.seats.len();
        let in_turn = (0..count).map(|step| self.turn.wrapping_add(step) % count);
        let untried = in_turn.filter(|at| self.tried & (1 << at) == 0);
        let best = untried.min_by_key(|&at| (self.seats[at].server.is_out(), self.servers.load(at)))?;
        self.tried |= 1 << best;
        Some(Arc::clone(&self.seats[best]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::testing::upstream;

    fn servers(balance: Balance, ports: &[u16]) -> Servers {
        Servers::new(upstream(balance, ports), &Metrics::default(), 2)
    }

    fn port(seat: &Seat) -> u16 {
        match &seat.server.address {
            ServerAddress::Http(place) => place.port,
            other @ (ServerAddress::H2c(_) | ServerAddress::Https(_) | ServerAddress::Unix(_)) => panic!("{other}"),
        }
    }

    /// In the order they would be tried.
    fn order(servers: &Servers) -> Vec<u16> {
        servers.candidates(0).map(|seat| port(&seat)).collect()
    }

    #[test]
    fn each_request_begins_with_the_next_server_and_may_go_on_to_all() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let servers = servers(balance, &[1, 2, 3]);
            assert_eq!([order(&servers), order(&servers), order(&servers)], [[1, 2, 3], [2, 3, 1], [3, 1, 2]]);
        }
    }

    #[test]
    fn the_server_with_the_fewest_requests_under_way_over_all_workers_is_next() {
        let servers = servers(Balance::LeastConnections, &[1, 2, 3]);
        let under_way: Vec<_> = (0..4).map(|worker| servers.candidates(worker).next().unwrap()).collect();
        assert_eq!(under_way.iter().map(|seat| port(seat)).collect::<Vec<_>>(), [1, 2, 3, 1]);
        assert_eq!(order(&servers), [2, 3, 1]);
        drop(under_way);
        assert_eq!(order(&servers), [3, 1, 2], "with nothing under way it goes by turns");
    }

    #[test]
    fn round_robin_does_not_count() {
        let servers = servers(Balance::RoundRobin, &[1, 2]);
        let _under_way: Vec<_> = (0..4).map(|_| servers.candidates(0).find(|seat| port(seat) == 1)).collect();
        assert_eq!([order(&servers), order(&servers)], [[1, 2], [2, 1]]);
    }

    #[test]
    fn servers_that_refused_are_tried_after_all_others() {
        let servers = servers(Balance::LeastConnections, &[1, 2, 3]);
        let refuse = |at: usize| servers.seats[0][at].server.connected(Some(&"refused"));
        refuse(0);
        assert_eq!([order(&servers), order(&servers), order(&servers)], [[2, 3, 1], [2, 3, 1], [3, 2, 1]]);
        (1..3).for_each(refuse);
        assert_eq!(order(&servers), [1, 2, 3], "with all of them out, all are tried");
    }

    #[test]
    fn what_is_left_is_told() {
        let servers = servers(Balance::RoundRobin, &[1, 2]);
        let mut candidates = servers.candidates(0);
        assert_eq!(candidates.left(), 2);
        candidates.next();
        assert_eq!(candidates.left(), 1);
    }
}
