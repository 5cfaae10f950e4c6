//! One server of an upstream, and what the gateway knows of it.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use crate::config::ServerAddress;
use crate::observe::metrics::Gauge;

#[derive(Debug)]
pub struct Server {
    pub address: ServerAddress,
    /// `Host` for a client that sent none.
    pub host: HeaderValue,
    /// 1 while the last attempt to connect succeeded.
    healthy: Arc<Gauge>,
}

impl Server {
    pub fn new(address: ServerAddress, healthy: Arc<Gauge>) -> Self {
        let host = HeaderValue::from_str(&address.to_string()).expect("a checked address is visible ASCII");
        Self { address, host, healthy }
    }

    /// Requests go there only when there is no other.
    pub fn is_out(&self) -> bool {
        self.healthy.get() == 0
    }

    /// Says so when it goes away or comes back, not at each request meanwhile.
    pub fn note(&self, refusal: Option<&dyn fmt::Display>) {
        let was_out = self.is_out();
        match refusal {
            Some(error) if !was_out => tracing::warn!(%error, "an upstream server cannot be reached"),
            None if was_out => tracing::info!(server = %self.address, "an upstream server is reached again"),
            _ => {}
        }
        self.healthy.set(u64::from(refusal.is_none()));
    }
}
