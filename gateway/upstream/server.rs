//! One server of an upstream, and whether it gets requests.
//!
//! What must stay true here: a server is out from the first connection that it refused until one stands, and from the checks
//! that failed until enough succeed; whether it is out costs a request one look at a number that rarely changes.

use std::fmt;
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Notify;

use crate::config::{HealthCheck, ServerAddress, UpstreamTls};
use crate::observe::metrics::Gauge;

#[derive(Debug)]
pub struct Server {
    pub address: ServerAddress,
    /// `Host` for a client that sent none.
    pub host: HeaderValue,
    /// Where it is `https://`.
    pub tls: Option<Tls>,
    /// By a name, which may come to stand for another address.
    pub is_named: bool,
    /// 0 while it is out.
    healthy: Arc<Gauge>,
    standing: Mutex<Standing>,
    refused: Notify,
}

/// How TLS is spoken with it, and whose certificate it has to have.
#[derive(Debug)]
pub struct Tls {
    pub client: Arc<ClientConfig>,
    /// For what needs HTTP/1.1.
    pub client_of_http1: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// The last connection did not come to be.
    refuses: bool,
    /// By the checks.
    fails: bool,
    /// Checks in a row that say otherwise.
    otherwise: usize,
}

impl Server {
    /// As it stood before, where `healthy` knows it.
    pub fn new(address: ServerAddress, tls: Option<&UpstreamTls>, healthy: Arc<Gauge>) -> Self {
        let secured = |tls: &UpstreamTls| match &address {
            ServerAddress::Https(place) => Some(Tls {
                client: Arc::clone(&tls.client),
                client_of_http1: Arc::clone(&tls.client_of_http1),
                name: tls.name_of(&place.host),
            }),
            ServerAddress::Http(_) | ServerAddress::H2c(_) | ServerAddress::Unix(_) => None,
        };
        let tls = tls.and_then(secured);
        let host = HeaderValue::from_str(&address.authority()).expect("a checked host is visible ASCII");
        let standing = Mutex::new(Standing { refuses: healthy.get() == 0, ..Standing::default() });
        Self { tls, is_named: address.is_named(), address, host, healthy, standing, refused: Notify::new() }
    }

    /// Requests go there only when there is no other.
    pub fn is_out(&self) -> bool {
        self.healthy.get() == 0
    }

    /// The last connection did not come to be.
    pub fn refuses(&self) -> bool {
        self.standing.lock().expect("nothing panics while it holds the standing").refuses
    }

    /// Returns after it has begun to refuse; for one task.
    pub async fn begins_to_refuse(&self) {
        self.refused.notified().await;
    }

    /// A connection came to be, or did not.
    pub fn connected(&self, refusal: Option<&dyn fmt::Display>) {
        self.change(refusal, |standing| standing.refuses = refusal.is_some());
        if refusal.is_some() {
            self.refused.notify_one();
        }
    }

    /// A check passed, or did not.
    pub fn checked(&self, failure: Option<&dyn fmt::Display>, rules: &HealthCheck) {
        self.change(failure, |standing| standing.check(failure.is_none(), rules));
    }

    /// Says so when it goes away or comes back, not at each request meanwhile.
    fn change(&self, reason: Option<&dyn fmt::Display>, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing.lock().expect("nothing panics while it holds the standing");
        change(&mut standing);
        let (was_out, is_out) = (self.is_out(), standing.is_out());
        self.healthy.set(u64::from(!is_out));
        drop(standing);
        let server = &self.address;
        match (was_out, is_out, reason) {
            (false, true, Some(error)) => tracing::warn!(%server, %error, "an upstream server is left out"),
            (true, false, _) => tracing::info!(%server, "an upstream server is back"),
            _ => {}
        }
    }
}

impl Standing {
    fn is_out(self) -> bool {
        self.refuses || self.fails
    }

    fn check(&mut self, passed: bool, rules: &HealthCheck) {
        if passed != self.fails {
            self.otherwise = 0;
            return;
        }
        self.otherwise += 1;
        let enough = if self.fails { rules.healthy_after } else { rules.unhealthy_after };
        if self.otherwise >= enough {
            (self.fails, self.otherwise) = (!self.fails, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Metrics;
    use crate::upstream::testing::{address, health_check};

    fn server(metrics: &Metrics) -> Server {
        Server::new(address("127.0.0.1"), None, metrics.server("app", "127.0.0.1:1"))
    }

    #[test]
    fn it_is_out_after_one_refusal_and_back_with_one_connection() {
        let server = server(&Metrics::default());
        assert!(!server.is_out());
        server.connected(Some(&"refused"));
        assert!(server.is_out() && server.refuses());
        server.connected(None);
        assert!(!server.is_out() && !server.refuses());
    }

    #[test]
    fn checks_count_only_in_a_row() {
        let server = server(&Metrics::default());
        let rules = health_check();
        let check = |passed: bool| {
            server.checked((!passed).then_some(&"status 500"), &rules);
            server.is_out()
        };
        assert_eq!((rules.unhealthy_after, rules.healthy_after), (2, 3));
        assert_eq!([false, true, false, false].map(check), [false, false, false, true]);
        assert_eq!([true, true, false, true, true, true].map(check), [true, true, true, true, true, false]);
    }

    #[test]
    fn who_takes_connections_and_fails_its_checks_stays_out() {
        let server = server(&Metrics::default());
        (0..2).for_each(|_| server.checked(Some(&"status 500"), &health_check()));
        server.connected(Some(&"refused"));
        server.connected(None);
        assert!(server.is_out() && !server.refuses());
    }

    #[test]
    fn what_was_known_of_it_passes_to_who_takes_its_place() {
        let metrics = Metrics::default();
        let before = server(&metrics);
        before.connected(Some(&"refused"));
        let after = server(&metrics);
        assert!(after.is_out() && after.refuses());
    }

    #[tokio::test]
    async fn a_refusal_is_heard_of_even_by_who_listens_later() {
        let server = server(&Metrics::default());
        server.connected(Some(&"refused"));
        server.begins_to_refuse().await;
    }
}
