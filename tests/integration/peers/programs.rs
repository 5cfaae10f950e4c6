//! Runs the peers.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Debian's own: its packages are not for others.
const PYTHON: &str = "/usr/bin/python3";

/// A server in Python, killed when dropped.
pub struct PythonServer {
    pub address: SocketAddr,
    process: Child,
}

impl PythonServer {
    /// Runs a script of `tests/peers` with a socket that listens already as its stdin.
    pub fn start(script: &str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        let mut python = Command::new(PYTHON);
        python.arg(path_of(script)).stdin(OwnedFd::from(socket));
        Self { address, process: python.spawn().expect("there is Python") }
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a client of `tests/peers`, which fails by itself where something is not as it should be.
#[track_caller]
pub fn python(script: &str, arguments: &[&str]) {
    let mut python = Command::new(PYTHON);
    ended_well(python.arg(path_of(script)).args(arguments).stdin(Stdio::null()));
}

/// What a program wrote to its end. It must have succeeded.
#[track_caller]
pub fn ended_well(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}; ./tests/run installs it"));
    let says = || [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream).into_owned()).concat();
    assert!(output.status.success(), "{program}, {}: {}", output.status, says());
    output
}

/// A file of that many bytes, no part of which is like another.
pub fn write_noise(path: &Path, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    fastrand::Rng::with_seed(7).fill(&mut noise);
    std::fs::write(path, &noise).expect("the folder can be written to");
    noise
}

fn path_of(script: &str) -> String {
    format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR"))
}
