//! The cases of h2spec 2.6 (RFC 9113, RFC 7541), each by its number there and with the outcomes that it accepts; an error has
//! to be told, though, where h2spec is content with a connection that ends.

mod case;
mod frames;
mod generic;
mod hpack;
mod messages;
mod streams;

use std::sync::Arc;
use std::thread;

use crate::support::raw_http2::RawHttp2;
use crate::support::tls::{Authority, TlsConnection};
use crate::support::{Gateway, Upstream};
use case::Case;

/// 146, the strict one, and one that came later.
const CASES: usize = 148;

fn cases() -> Vec<Case> {
    [generic::cases(), hpack::cases(), frames::cases(), streams::cases(), messages::cases()].into_iter().flatten().collect()
}

/// All at once, each over a connection of its own.
fn all_pass(connect: impl Fn() -> RawHttp2 + Sync) {
    let cases = cases();
    assert_eq!(cases.len(), CASES);
    let failed: Vec<&str> = thread::scope(|scope| {
        let run = |case: &Case| {
            let (case, connect) = (case.clone(), &connect);
            let named = thread::Builder::new().name(case.name.to_owned());
            named.spawn_scoped(scope, move || case.run(connect())).expect("a thread")
        };
        let running: Vec<_> = cases.iter().map(|case| (case.name, run(case))).collect();
        running.into_iter().filter_map(|(name, case)| case.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

fn upstream() -> Upstream {
    Upstream::start(|exchange| {
        exchange.body();
        exchange.answer(200, &[], "an answer");
    })
}

const OPEN: &str = "log.access = false\nroutes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

#[test]
fn every_case_of_h2spec_passes_in_cleartext() {
    let upstream = upstream();
    let gateway = Gateway::start(upstream.address(), OPEN);
    all_pass(|| RawHttp2::silent(gateway.address()));
}

#[test]
fn every_case_of_h2spec_passes_over_tls() {
    let upstream = upstream();
    let authority = Authority::new();
    let tls = "server.tls = { listen = [\"127.0.0.1:0\"], certificate = \"cert.pem\", private_key = \"cert-key.pem\" }";
    let mut gateway = Gateway::stopped(upstream.address(), &format!("{OPEN}\n{tls}"));
    authority.make(&["gateway.test"]).write(gateway.folder(), "cert");
    gateway.run();
    let mut client = authority.client();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let client = Arc::new(client);
    all_pass(|| {
        let connection = TlsConnection::resuming(gateway.tls_address(), "gateway.test", &client);
        RawHttp2::over_tls(connection.expect("a handshake"))
    });
}
