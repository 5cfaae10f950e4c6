//! A gateway in surroundings of its own: on a small disk, among other hosts, with a socket that is handed over.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BINARY, Gateway};

impl Gateway {
    /// Runs it with its spool on a disk of so many KiB. Only the process itself sees that disk; [`inside`](Self::inside) leads
    /// there. Needs no root, but a kernel that gives users namespaces of their own.
    pub fn run_on_a_disk_of(&mut self, kib: u32) {
        fs::create_dir_all(self.spool()).expect("the folder can be written to");
        let mut command = self.command_by("unshare", &["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command.arg(format!("mount -t tmpfs -o size={kib}k none spool && exec \"$@\""));
        command.args(["sh", BINARY, "serve", "-c", "gateway.toml"]);
        self.run_by(command);
    }

    /// The same where `hosts` says what names stand for. Only for the process itself.
    pub fn run_with_hosts(&mut self, hosts: &Path) {
        let mut command = self.command_by("unshare", &["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command.arg(format!("mount --bind '{}' /etc/hosts && exec \"$@\"", hosts.display()));
        command.args(["sh", BINARY, "serve", "-c", "gateway.toml"]);
        self.run_by(command);
    }

    /// A file as the process sees it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.process_id(), path.display()))
    }

    /// The same with a socket that is bound already, as systemd would hand it over. The shell puts it where the third file is, and
    /// tells whose it is.
    pub fn run_with_socket(&mut self, socket: &TcpListener) {
        let serve = self.command_with_socket(socket);
        self.run_by(serve);
    }

    /// `serve` with such a socket, not run yet.
    pub fn command_with_socket(&self, socket: &TcpListener) -> Command {
        let mut command = self.command_by("sh", &["-c"]);
        command.arg("exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"");
        command.args(["sh", BINARY, "serve", "-c", "gateway.toml"]);
        command.stdin(OwnedFd::from(socket.try_clone().expect("a socket can be shared")));
        command
    }
}
