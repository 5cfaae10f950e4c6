//! A real nginx for tests: a master and one worker, of the user who tests.
//!
//! What must stay true here: it goes with the process that started it, however that ends. A shell watches over it: it waits on a
//! pipe that only this process holds, and ends the server once the pipe closes.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::gateway::signal;
use super::{Upstream, eventually};

/// The worker goes with its master only when that ends in order.
const SERVE: &str = r#"nginx -p "$FOLDER" -c nginx.conf -e stderr & read end; kill "$!" 2>/dev/null; wait"#;

/// All paths are below the folder. A master that is root keeps its worker root, so that it is let into it.
const FRAME: &str = "
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {}
http {
    access_log off;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    @HTTP@
}
";

pub struct Nginx {
    pub address: SocketAddr,
    folder: TempDir,
    watcher: Child,
}

impl Nginx {
    /// With `http` inside its `http { }`; `listen 80` there becomes a free port.
    pub fn start(http: &str) -> Self {
        let address = Upstream::nowhere();
        let folder = folder_with(&http.replace("listen 80;", &format!("listen {address};")));
        let watcher = serve(&folder, address);
        Self { address, folder, watcher }
    }

    /// Its prefix: what relative paths are relative to.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has a new worker take over; the old one ends what it has begun. Returns without waiting for that.
    pub fn reload(&self) {
        let id = fs::read_to_string(self.folder().join("nginx.pid")).expect("it runs");
        signal("HUP", id.trim().parse().expect("a process"));
    }

    /// Ends it with all that it has begun.
    pub fn stop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }

    /// After [`stop`](Self::stop), at the same port.
    pub fn run(&mut self) {
        self.watcher = serve(&self.folder, self.address);
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}

/// With an `nginx.conf` that has `http` inside its `http { }`.
pub fn folder_with(http: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("nginx.conf"), FRAME.replace("@HTTP@", http)).expect("the folder can be written to");
    folder
}

fn serve(folder: &TempDir, address: SocketAddr) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", SERVE]).env("FOLDER", folder.path()).stdin(Stdio::piped());
    let watcher = shell.spawn().expect("there is a shell");
    eventually("nginx listens; is it installed?", || TcpStream::connect(address).is_ok());
    watcher
}
