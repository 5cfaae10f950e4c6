//! A real nginx for tests, as one process of the user who tests.
//!
//! What must stay true here: it goes with the process that started it, however that ends. A shell watches over it: it waits on a
//! pipe that only this process holds, and kills the server once the pipe closes.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::succeed;
use crate::support::{Upstream, eventually};

const SERVE: &str = r#"nginx -p "$FOLDER" -c nginx.conf -e stderr & read end; kill -9 "$!" 2>/dev/null"#;

/// All paths are below the folder.
const FRAME: &str = "
daemon off;
master_process off;
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

/// Ends when it is dropped.
pub struct Nginx {
    pub address: SocketAddr,
    _folder: TempDir,
    watcher: Child,
}

impl Nginx {
    /// With `http` inside its `http { }`; `listen 80` there becomes a free port.
    pub fn start(http: &str) -> Self {
        let address = Upstream::nowhere();
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path(), &http.replace("listen 80;", &format!("listen {address};")));
        let mut shell = Command::new("sh");
        shell.args(["-c", SERVE]).env("FOLDER", folder.path()).stdin(Stdio::piped());
        let watcher = shell.spawn().expect("there is a shell");
        eventually("nginx listens; is it installed?", || TcpStream::connect(address).is_ok());
        Self { address, _folder: folder, watcher }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Has nginx read what would stand inside its `http { }`.
#[track_caller]
pub fn check(http: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), http);
    succeed(Command::new("nginx").args(["-t", "-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder.path()));
}

fn write(folder: &Path, http: &str) {
    fs::write(folder.join("nginx.conf"), FRAME.replace("@HTTP@", http)).expect("the folder can be written to");
}
