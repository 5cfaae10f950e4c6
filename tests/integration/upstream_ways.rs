//! The ways to a server beside an address and a port: sockets in the file system, names.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::wire::End;
use crate::support::{Gateway, Request, Upstream, eventually, front};

fn gateway(app: &Upstream, servers: &str, keys: &str) -> Gateway {
    Gateway::start(app.address(), &settings(servers, keys))
}

fn settings(servers: &str, keys: &str) -> String {
    format!(
        "upstreams = [{{ name = \"app\", servers = [{servers}], {keys} }}]\n\
         routes = [{{ path = \"/\", upstream = \"app\", auth = \"none\" }}]"
    )
}

/// The upstream behind a socket in the file system.
fn behind_socket(upstream: &Upstream) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("app.sock");
    front::unix(&path, upstream.address());
    (folder, path)
}

#[test]
fn a_server_behind_a_unix_socket_is_a_server_like_any_other() {
    let upstream = Upstream::ok();
    let (_folder, path) = behind_socket(&upstream);
    let gateway = gateway(&upstream, &format!("\"unix:{}\"", path.display()), "health_check = { path = \"/health\" }");
    let mut connection = gateway.connect();
    for _ in 0..10 {
        assert_eq!(connection.ask(&Request::post("/", "x")).text(), "ok");
    }
    let requests: Vec<_> = upstream.requests().into_iter().filter(|seen| seen.method == "POST").collect();
    assert!(requests.iter().all(|seen| seen.body == b"x" && seen.headers.get("host") == Some("gateway.test")));
    let used = requests.iter().map(|seen| seen.connection);
    assert_eq!(used.clone().min(), used.max(), "one connection is kept and used again");
    let series = format!("gateway_upstream_healthy{{upstream=\"app\",server=\"unix:{}\"}}", path.display());
    assert_eq!(gateway.metric(&series), 1);
}

#[test]
fn behind_a_unix_socket_a_client_without_a_host_gets_localhost() {
    let upstream = Upstream::ok();
    let (_folder, path) = behind_socket(&upstream);
    let gateway = gateway(&upstream, &format!("\"unix:{}\"", path.display()), "");
    let mut connection = gateway.connect();
    connection.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(connection.response().status, 200);
    assert_eq!(upstream.request().headers.get("host"), Some("localhost"));
}

#[test]
fn a_get_that_meets_a_dying_unix_connection_is_tried_on_a_fresh_one() {
    let upstream = Upstream::start(|exchange| match (exchange.seen.connection, exchange.number) {
        (1, 2) => exchange.close(),
        _ => exchange.answer(200, &[], "ok"),
    });
    let (_folder, path) = behind_socket(&upstream);
    let gateway = gateway(&upstream, &format!("\"unix:{}\"", path.display()), "");
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/first")).status, 200);
    assert_eq!(connection.ask(&Request::get("/second")).status, 200);
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn a_tunnel_goes_through_a_unix_socket() {
    let upstream = echo_of_five();
    let (_folder, path) = behind_socket(&upstream);
    expect_tunnel(&gateway(&upstream, &format!("\"unix:{}\"", path.display()), ""));
}

/// Switches, greets, and wants five bytes.
pub fn echo_of_five() -> Upstream {
    Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        let sent = exchange.wire().exactly(5).expect("what the client sent");
        exchange.send(sent);
        exchange.close();
    })
}

pub fn expect_tunnel(gateway: &Gateway) {
    let upgrade = Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let mut connection = gateway.connect();
    connection.send([upgrade.bytes(), b"early".to_vec()].concat());
    assert_eq!(connection.head().0, 101);
    assert_eq!(connection.wire().exactly(10).expect("what the upstream sent"), b"helloearly");
    assert_eq!(connection.end(), End::Closed);
}

#[test]
fn a_socket_that_is_not_there_is_an_unreachable_server() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream, "\"unix:nowhere.sock\"", "");
    gateway.ask(&Request::get("/")).expect(502, "upstream_unreachable");
    eventually("it is named in the log", || gateway.log().contains("unix:nowhere.sock"));
}

/// A gateway for which `app.test` is what the file says.
fn gateway_that_reads(hosts: &Path, port: u16) -> Gateway {
    let app = SocketAddr::from(([127, 0, 0, 1], port));
    let mut gateway = Gateway::stopped(app, &settings(&format!("\"http://app.test:{port}\""), ""));
    gateway.run_with_hosts(hosts);
    gateway
}

fn answering(body: &'static str, address: SocketAddr) -> Upstream {
    Upstream::start_at(address, move |exchange| exchange.answer(200, &[("Connection", "close")], body))
}

#[test]
fn a_name_is_resolved_for_each_connection() {
    let old = answering("old", ([127, 0, 0, 2], 0).into());
    let port = old.address().port();
    let new = answering("new", ([127, 0, 0, 3], port).into());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "127.0.0.2 app.test\n").expect("the folder can be written to");
    let gateway = gateway_that_reads(&hosts, port);
    assert_eq!(gateway.ask(&Request::get("/")).text(), "old");
    fs::write(&hosts, "127.0.0.3 app.test\n").expect("the folder can be written to");
    assert_eq!(gateway.ask(&Request::get("/")).text(), "new");
    assert_eq!((old.connections(), new.connections()), (1, 1));
}

#[test]
fn a_name_with_several_addresses_is_reached_at_the_one_that_listens() {
    let upstream = answering("here", ([127, 0, 0, 3], 0).into());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "127.0.0.2 app.test\n127.0.0.3 app.test\n127.0.0.4 app.test\n").expect("the folder can be written to");
    let gateway = gateway_that_reads(&hosts, upstream.address().port());
    assert_eq!(gateway.ask(&Request::get("/")).text(), "here");
}
