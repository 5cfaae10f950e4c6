//! What the tests of this folder share.

use std::time::Duration;

use crate::config::{Balance, ServerAddress, Upstream};

const LONG: Duration = Duration::from_secs(10);

/// With servers at these ports of loopback.
pub(super) fn upstream(balance: Balance, ports: &[u16]) -> Upstream {
    Upstream {
        name: "app".into(),
        servers: ports.iter().map(|&port| ServerAddress { host: "127.0.0.1".into(), port }).collect(),
        balance,
        connect_timeout: LONG,
        response_timeout: LONG,
        body_timeout: LONG,
    }
}
