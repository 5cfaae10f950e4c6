//! TLS towards upstreams: nobody is believed whose certificate does not say so.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::ServerConfig;
use tempfile::TempDir;

use crate::support::front::{self, Hello};
use crate::support::tls::{Authority, Made};
use crate::support::{Gateway, Request, Upstream, eventually};
use crate::upstream_ways::{echo_of_five, expect_tunnel};

/// An authority, and a folder where a gateway finds it as `ca.pem`.
fn authority() -> (Authority, TempDir) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a temporary folder"));
    authority.write(folder.path(), "ca.pem");
    (authority, folder)
}

/// Before this server alone, with the files of the folder.
fn gateway(folder: &TempDir, server: SocketAddr, host: &str, keys: &str) -> Gateway {
    let own = format!(
        "upstreams = [{{ name = \"app\", servers = [\"https://{host}:{}\"], {keys} }}]\n\
         routes = [{{ path = \"/\", upstream = \"app\", auth = \"none\" }}]",
        server.port()
    );
    Gateway::start(server, &own.replace("{folder}", &folder.path().display().to_string()))
}

const CA: &str = "ca = \"{folder}/ca.pem\"";

fn before(upstream: &Upstream, made: &Made) -> SocketAddr {
    front::tls(of_http1(made.server(None)), upstream.address()).0
}

/// Agrees on nothing newer, as the scripted upstream speaks it.
fn of_http1(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

#[test]
fn everything_goes_through_tls_both_ways_over_connections_that_are_kept() {
    let (authority, folder) = authority();
    let upstream = Upstream::start(|exchange| {
        let body = exchange.body();
        exchange.answer(200, &[], body);
    });
    let (address, hellos) = front::tls(of_http1(authority.make(&["localhost"]).server(None)), upstream.address());
    let gateway = gateway(&folder, address, "localhost", CA);
    let mut connection = gateway.connect();
    for length in [0, 1, 16 * 1024, 100_000, 5_000_000] {
        let body: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let response = connection.ask(&Request::post("/", &body));
        assert!(response.status == 200 && response.body == body, "{length} bytes");
    }
    let chunked = "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    connection.send(chunked);
    assert_eq!(connection.response().text(), "abcde");
    assert_eq!(upstream.connections(), 1);
    let hello = Hello { name: Some("localhost".to_owned()), protocol: Some(b"http/1.1".to_vec()), has_certificate: false };
    assert_eq!(*hellos.lock().unwrap(), [hello]);
    let server = format!("gateway_upstream_healthy{{upstream=\"app\",server=\"https://localhost:{}\"}}", address.port());
    assert_eq!(gateway.metric(&server), 1);
}

#[test]
fn a_server_that_is_not_who_it_should_be_gets_no_request() {
    let (authority, folder) = authority();
    let upstream = Upstream::ok();
    let hour = Duration::from_hours(1);
    for (made, host, keys, why) in [
        (Authority::new().make(&["localhost"]), "localhost", CA, "BadSignature"),
        (authority.make(&["localhost"]), "localhost", "", "UnknownIssuer"),
        (authority.make(&["elsewhere.test"]), "localhost", CA, "not valid for name"),
        (authority.make(&["localhost"]), "127.0.0.1", CA, "not valid for name"),
        (
            authority.make(&["localhost"]),
            "localhost",
            "ca = \"{folder}/ca.pem\", server_name = \"app.test\"",
            "not valid for name",
        ),
        (authority.expired(&["localhost"], hour), "localhost", CA, "expired"),
    ] {
        let gateway = gateway(&folder, before(&upstream, &made), host, keys);
        gateway.ask(&Request::get("/")).expect(502, "upstream_unreachable");
        eventually(why, || gateway.log().contains("an upstream server is left out") && gateway.log().contains(why));
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn the_name_in_the_certificate_may_be_another_than_the_host() {
    let (authority, folder) = authority();
    let upstream = Upstream::ok();
    let address = before(&upstream, &authority.make(&["app.test"]));
    let gateway = gateway(&folder, address, "127.0.0.1", &format!("{CA}, server_name = \"app.test\""));
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    assert_eq!(upstream.request().headers.get("host"), Some("gateway.test"), "the client's host is kept");
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_the_gateways() {
    let (authority, folder) = authority();
    authority.make(&["gateway"]).write(folder.path(), "gateway");
    let upstream = Upstream::ok();
    let (address, hellos) = front::tls(of_http1(authority.make(&["localhost"]).server(Some(&authority))), upstream.address());
    let own = "client_certificate = \"{folder}/gateway.pem\", client_key = \"{folder}/gateway-key.pem\"";
    let with = gateway(&folder, address, "localhost", &format!("{CA}, {own}"));
    assert_eq!(with.ask(&Request::get("/")).status, 200);
    assert!(hellos.lock().unwrap()[0].has_certificate);
    let without = gateway(&folder, address, "localhost", CA);
    assert_eq!(without.ask(&Request::get("/")).status, 502);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_get_that_meets_a_dying_tls_connection_is_tried_on_a_fresh_one_and_a_post_is_not() {
    let (authority, folder) = authority();
    for (request, status, seen) in [(Request::get("/second"), 200, 3), (Request::post("/second", "x"), 502, 2)] {
        let upstream = Upstream::start(|exchange| match (exchange.seen.connection, exchange.number) {
            (1, 2) => exchange.close(),
            _ => exchange.answer(200, &[], "ok"),
        });
        let gateway = gateway(&folder, before(&upstream, &authority.make(&["localhost"])), "localhost", CA);
        let mut connection = gateway.connect();
        assert_eq!(connection.ask(&Request::get("/first")).status, 200);
        assert_eq!(connection.ask(&request).status, status);
        assert_eq!(upstream.requests().len(), seen);
    }
}

#[test]
fn an_answer_that_says_too_much_spoils_no_later_one() {
    let (authority, folder) = authority();
    let upstream =
        Upstream::start(|exchange| exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 299 No\r\n\r\n"));
    let gateway = gateway(&folder, before(&upstream, &authority.make(&["localhost"])), "localhost", CA);
    let mut connection = gateway.connect();
    for _ in 0..3 {
        let response = connection.ask(&Request::get("/"));
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn a_broken_off_answer_stays_visible_through_tls() {
    let (authority, folder) = authority();
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        exchange.close();
    });
    let gateway = gateway(&folder, before(&upstream, &authority.make(&["localhost"])), "localhost", CA);
    let response = gateway.ask(&Request::get("/"));
    assert_eq!((response.text().as_str(), response.complete), ("abc", false));
}

#[test]
fn a_tunnel_goes_through_tls() {
    let (authority, folder) = authority();
    let upstream = echo_of_five();
    expect_tunnel(&gateway(&folder, before(&upstream, &authority.make(&["localhost"])), "localhost", CA));
}

#[test]
fn a_server_that_is_silent_in_its_handshake_is_too_slow() {
    let (_authority, folder) = authority();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let keys = format!("{CA}, connect_timeout = \"100ms\"");
    let gateway = gateway(&folder, silent.local_addr().unwrap(), "localhost", &keys);
    gateway.ask(&Request::get("/")).expect(504, "upstream_timeout");
}
