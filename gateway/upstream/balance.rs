//! The servers of one upstream, taken in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;

use crate::config::{ServerAddress, Upstream};
use crate::observe::metrics::{Gauge, Metrics, UpstreamLabel};

/// An upstream with what the gateway knows of its servers.
#[derive(Debug)]
pub struct Servers {
    pub upstream: Arc<Upstream>,
    pub label: UpstreamLabel,
    all: Vec<Arc<Server>>,
    turn: AtomicUsize,
}

#[derive(Debug)]
pub struct Server {
    pub address: ServerAddress,
    host: HeaderValue,
    /// 1 while the last attempt to connect succeeded.
    pub healthy: Arc<Gauge>,
}

impl Servers {
    pub fn new(upstream: Arc<Upstream>, metrics: &Metrics) -> Self {
        let server = |address: &ServerAddress| {
            let name = address.to_string();
            let healthy = metrics.server(&upstream.name, &name);
            let host = HeaderValue::from_str(&name).expect("a checked address is visible ASCII");
            Arc::new(Server { address: address.clone(), host, healthy })
        };
        let all = upstream.servers.iter().map(server).collect();
        Self { label: metrics.upstream(&upstream.name), upstream, all, turn: AtomicUsize::new(0) }
    }

    /// Every server once, each request beginning with the next in turn; those that refused the last connection come last.
    pub fn in_turn(&self) -> impl ExactSizeIterator<Item = &Arc<Server>> {
        let count = self.all.len();
        let first = if count == 1 { 0 } else { self.first(count) };
        (0..count).map(move |step| &self.all[(first + step) % count])
    }

    /// `Host` for a client that sent none.
    pub fn host(&self) -> HeaderValue {
        self.all[0].host.clone()
    }

    fn first(&self, count: usize) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..count).map(|step| (turn + step) % count).find(|&at| self.all[at].healthy.get() == 1).unwrap_or(turn % count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn servers(ports: &[u16]) -> Servers {
        let upstream = Upstream {
            name: "app".into(),
            servers: ports.iter().map(|&port| ServerAddress { host: "127.0.0.1".into(), port }).collect(),
            connect_timeout: Duration::ZERO,
            response_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
        };
        Servers::new(Arc::new(upstream), &Metrics::default())
    }

    fn order(servers: &Servers) -> Vec<u16> {
        servers.in_turn().map(|server| server.address.port).collect()
    }

    #[test]
    fn each_request_begins_with_the_next_server_and_may_go_on_to_all() {
        let servers = servers(&[1, 2, 3]);
        assert_eq!([order(&servers), order(&servers), order(&servers)], [[1, 2, 3], [2, 3, 1], [3, 1, 2]]);
    }

    #[test]
    fn a_server_that_refused_is_not_begun_with_while_another_takes_connections() {
        let servers = servers(&[1, 2]);
        servers.all[0].healthy.set(0);
        assert_eq!([order(&servers), order(&servers)], [[2, 1], [2, 1]]);
        servers.all[1].healthy.set(0);
        assert_eq!(order(&servers).len(), 2, "with all of them down, all are tried");
    }
}
