//! What a service manager hands over and is told. Systemd's own protocols, spoken by the tests.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use crate::support::{Connection, Gateway, PATIENCE, Request, Upstream};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

fn listening_on(socket: &TcpListener) -> String {
    format!("server.listen = [\"{}\"]\n{OPEN}", socket.local_addr().expect("a bound socket has an address"))
}

#[test]
fn behind_a_socket_that_was_handed_over_a_restart_refuses_nobody() {
    let (upstream, socket) = (Upstream::ok(), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let mut gateway = Gateway::stopped(upstream.address(), &listening_on(&socket));
    gateway.run_with_socket(&socket);
    assert_eq!(gateway.address(), socket.local_addr().expect("a bound socket has an address"));
    for _ in 0..20 {
        assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    }
    gateway.terminate();
    assert!(gateway.wait().success());
    let mut early = Connection::to(socket.local_addr().expect("a bound socket has an address"));
    early.send(Request::get("/").bytes());
    gateway.run_with_socket(&socket);
    assert_eq!(early.response().status, 200);
}

/// Its clients would wait for ever.
#[test]
fn a_socket_that_no_listener_wants_is_refused() {
    let (upstream, socket) = (Upstream::ok(), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let gateway = Gateway::stopped(upstream.address(), OPEN);
    let output = gateway.command_with_socket(&socket).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&socket.local_addr().expect("a bound socket has an address").to_string()), "{said}");
}

#[test]
fn the_service_manager_is_told_of_the_start_each_reload_and_the_end() {
    let (upstream, folder) = (Upstream::ok(), tempfile::tempdir().expect("a temporary folder"));
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("the folder can be written to");
    manager.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let told = || {
        let mut message = [0; 512];
        let length = manager.recv(&mut message).expect("it is told");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut gateway = Gateway::stopped(upstream.address(), OPEN);
    gateway.set_environment("NOTIFY_SOCKET", &path.to_string_lossy());
    gateway.run();
    assert_eq!(told(), "READY=1\n");
    gateway.reload();
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), "READY=1\n");
    gateway.terminate();
    assert_eq!(told(), "STOPPING=1\n");
    assert!(gateway.wait().success());
}
