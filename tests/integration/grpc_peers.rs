//! gRPC through the gateway: a real client before it, a real server behind it (`grpcio`, as Debian packages it).

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::tls::Authority;
use crate::support::{Gateway, Key, Upstream, eventually};

/// The one that has Debian's packages, whatever else is installed.
const PYTHON: &str = "/usr/bin/python3";

/// Ends with its standard input.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// With the files of a certificate it speaks TLS.
    fn start(certificate: &[PathBuf]) -> Self {
        let mut command = Command::new(PYTHON);
        command.arg(script("grpc_server.py")).args(certificate);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is a python3");
        let mut port = String::new();
        BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut port).expect("a line");
        let port = port.trim().parse().expect("python3-grpcio is installed, and the server tells its port");
        Self { process, address: (Ipv4Addr::LOCALHOST, port).into() }
    }

    /// A gateway before it, and a key.
    fn behind(&self, own: &str) -> (Gateway, Key) {
        let upstream = "upstreams = [{ name = \"app\", servers = [\"h2c://{app}\"] }]";
        let gateway = Gateway::start(self.address, &format!("{upstream}\n{own}"));
        let key = gateway.create_key(&[]);
        (gateway, key)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// Plays a scenario of `grpc_client.py`.
#[track_caller]
fn play(scenario: &str, target: SocketAddr, key: &str) {
    let mut client = Command::new(PYTHON);
    let output = client.arg(script("grpc_client.py")).args([&target.to_string(), key, scenario]).output();
    let output = output.expect("there is a python3");
    assert!(output.status.success(), "{scenario}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_kind_of_call_passes_message_by_message_with_its_metadata_and_status() {
    let server = Server::start(&[]);
    let (gateway, key) = server.behind("");
    for scenario in [
        "unary",
        "large",
        "many",
        "server_streaming",
        "client_streaming",
        "bidirectional",
        "failure",
        "failure_in_the_middle",
        "unknown_method",
    ] {
        play(scenario, gateway.address(), &key.secret);
    }
    assert_eq!(gateway.metric("gateway_upstream_requests_total{upstream=\"app\",result=\"protocol\"}"), 0);
}

#[test]
fn a_deadline_reaches_the_server_and_whoever_gives_up_frees_it() {
    let server = Server::start(&[]);
    let (gateway, key) = server.behind("");
    for scenario in ["deadline", "cancel"] {
        play(scenario, gateway.address(), &key.secret);
    }
    eventually("nothing is left", || gateway.metric("gateway_requests_in_flight") == 0);
}

#[test]
fn a_call_may_pause_longer_than_a_body_until_both_sides_are_silent_for_too_long() {
    let server = Server::start(&[]);
    let timeouts = |stream_idle| {
        let timeouts = format!("{{ request_body = \"300ms\", response_body = \"300ms\", stream_idle = \"{stream_idle}\" }}");
        format!("routes = [{{ path = \"/\", upstream = \"app\", timeouts = {timeouts} }}]")
    };
    for (scenario, stream_idle) in [("pause", "1500ms"), ("silence", "500ms")] {
        let (gateway, key) = server.behind(&timeouts(stream_idle));
        play(scenario, gateway.address(), &key.secret);
        eventually("nothing is left", || gateway.metric("gateway_requests_in_flight") == 0);
    }
}

#[test]
fn a_client_understands_the_gateways_own_answers() {
    let gateway = Gateway::start(Upstream::nowhere(), "");
    let key = gateway.create_key(&[]);
    play("refused", gateway.address(), "hk_live_none");
    play("unreachable", gateway.address(), &key.secret);
}

#[test]
fn it_works_over_tls_to_the_server() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    authority.make(&["grpc.test"]).write(folder.path(), "server");
    let file = |name: &str| folder.path().join(name);
    let server = Server::start(&[file("server.pem"), file("server-key.pem")]);
    let upstream = r#"upstreams = [{ name = "app", servers = ["https://{app}"], ca = "ca.pem", server_name = "grpc.test" }]"#;
    let mut gateway = Gateway::stopped(server.address, upstream);
    authority.write(gateway.folder(), "ca.pem");
    gateway.run();
    let key = gateway.create_key(&[]);
    for scenario in ["unary", "bidirectional"] {
        play(scenario, gateway.address(), &key.secret);
    }
}
