//! What holds in cleartext holds in TLS, and what TLS adds: names, sessions, certificates of clients, files that change.

mod certificates;
mod sessions;
mod streaming;

use crate::support::tls::{Authority, Made, TlsConnection};
use crate::support::{Gateway, Upstream};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";
const TLS: &str = "server.tls = { listen = [\"127.0.0.1:0\"], certificate = \"cert.pem\", private_key = \"cert-key.pem\" }";
const NAME: &str = "gateway.test";

/// A gateway with a certificate for [`NAME`], of an authority of its own.
struct Place {
    authority: Authority,
    shown: Made,
    gateway: Gateway,
}

impl Place {
    fn start(upstream: &Upstream, own: &str) -> Self {
        Self::start_with(upstream, &format!("{TLS}\n{OPEN}\n{own}"), |_, _| {})
    }

    /// `files` writes more files before the gateway begins.
    fn start_with(upstream: &Upstream, settings: &str, files: impl FnOnce(&Authority, &Gateway)) -> Self {
        let authority = Authority::new();
        let mut gateway = Gateway::stopped(upstream.address(), settings);
        let shown = authority.make(&[NAME]);
        shown.write(gateway.folder(), "cert");
        files(&authority, &gateway);
        gateway.run();
        Self { authority, shown, gateway }
    }

    fn connect(&self) -> TlsConnection {
        self.connect_as(NAME).expect("a handshake")
    }

    fn connect_as(&self, name: &str) -> std::io::Result<TlsConnection> {
        TlsConnection::to(self.gateway.tls_address(), name, self.authority.client())
    }

    /// What a new connection is shown.
    fn shown_now(&self) -> Vec<u8> {
        self.connect().certificate().to_vec()
    }
}
