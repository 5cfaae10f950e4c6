//! Clients and servers that others wrote, on both sides of the gateway. `tests/run` installs them.
//!
//! What must stay true here: a peer is run as its users run it, and reads and writes HTTP by its own code alone.

mod curl;
mod nghttp2;
mod nginx;
mod programs;
mod uvicorn;
mod websockets;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::support::tls::Authority;
use crate::support::{Gateway, Key};

/// What the gateway is called, in its certificate too.
const NAME: &str = "gateway.test";
const TLS: &str = "server.tls = { listen = [\"127.0.0.1:0\"], certificate = \"cert.pem\", private_key = \"cert-key.pem\" }";

/// A gateway that listens in cleartext and over TLS, and a key of it.
struct Front {
    gateway: Gateway,
    key: Key,
}

impl Front {
    fn before(app: SocketAddr, own: &str) -> Self {
        let authority = Authority::new();
        let mut gateway = Gateway::stopped(app, &format!("log.access = false\n{TLS}\n{own}"));
        authority.make(&[NAME, "localhost"]).write(gateway.folder(), "cert");
        authority.write(gateway.folder(), "authority.pem");
        gateway.run();
        let key = gateway.create_key(&["--rate-limit", "none"]);
        Self { gateway, key }
    }

    /// What signed its certificate.
    fn authority(&self) -> PathBuf {
        self.gateway.folder().join("authority.pem")
    }

    fn authorization(&self) -> String {
        format!("Authorization: Bearer {}", self.key.secret)
    }
}
