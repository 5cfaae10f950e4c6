//! What the tests of this folder share.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;

use crate::config::{Balance, HealthCheck, HostPort, ServerAddress, Upstream};

const LONG: Duration = Duration::from_secs(10);

/// With servers at these ports of loopback.
pub(super) fn upstream(balance: Balance, ports: &[u16]) -> Arc<Upstream> {
    Arc::new(Upstream {
        name: "app".into(),
        servers: ports.iter().map(|&port| ServerAddress::Http(HostPort { host: "127.0.0.1".into(), port })).collect(),
        balance,
        health_check: None,
        tls: None,
        connect_timeout: LONG,
        response_timeout: LONG,
        body_timeout: LONG,
    })
}

pub(super) fn health_check() -> HealthCheck {
    let path = PathAndQuery::from_static("/health");
    HealthCheck { path, interval: LONG, timeout: LONG, unhealthy_after: 2, healthy_after: 3 }
}

pub(super) fn address(host: &str) -> ServerAddress {
    ServerAddress::Http(HostPort { host: host.into(), port: 1 })
}
