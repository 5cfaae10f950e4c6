//! Redis for tests: a server of its own on a free port, which forgets all when it ends.
//!
//! What must stay true here: the server goes with the process that started it, however that ends. A shell watches over it: it
//! waits on a pipe that only this process holds, and kills the server once the pipe closes.

#![allow(dead_code, reason = "each test binary uses another part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use super::ports;

/// The one server of this test binary, for tests that do it no harm and name their keys by [`fresh_prefix`].
pub static SHARED: LazyLock<Server> = LazyLock::new(Server::start);

/// In a folder of its own, which goes with it.
const SERVE: &str = r#"
trap '' INT TERM HUP
folder=$(mktemp -d) && cd "$folder" || exit 1
umask 077
echo "$SETTINGS" >redis.conf
echo "$CERTIFICATE" >server.crt
echo "$PRIVATE_KEY" >server.key
redis-server redis.conf $MODE >/dev/null 2>&1 &
echo "$!"
read end
kill -9 "$!" 2>/dev/null
rm -rf "$folder"
"#;

/// A prefix that no other test uses.
pub fn fresh_prefix() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test{}:", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A server that ends when it is dropped.
pub struct Server {
    port: u16,
    kind: Kind,
    run: Mutex<Run>,
}

/// What else is said to a server, as redis.conf has it.
#[derive(Default)]
struct Kind {
    settings: String,
    is_sentinel: bool,
    certificate: String,
    private_key: String,
}

/// One life of it.
struct Run {
    pid: String,
    watcher: Child,
}

impl Server {
    /// # Panics
    /// When `redis-server` is not installed, or does not start.
    pub fn start() -> Self {
        Self::start_as(Kind::default())
    }

    /// Copies what `master` has, and may take its place.
    pub fn replica_of(master: &Self) -> Self {
        let settings = format!("replicaof 127.0.0.1 {}\nrepl-diskless-sync-delay 0\n", master.port);
        Self::start_as(Kind { settings, ..Kind::default() })
    }

    /// One that alone decides that `master` has failed, half a second after it fell silent. It calls it `main`.
    pub fn sentinel_over(master: &Self) -> Self {
        let settings = format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
            master.port
        );
        Self::start_as(Kind { settings, is_sentinel: true, ..Kind::default() })
    }

    /// Speaks TLS on a port of its own, by a certificate and its key in PEM. Returns that port too.
    pub fn with_tls(certificate: &str, private_key: &str) -> (Self, u16) {
        let tls_port = ports::reserve().port();
        let settings = format!(
            "tls-port {tls_port}\ntls-cert-file server.crt\ntls-key-file server.key\n\
             tls-ca-cert-file server.crt\ntls-auth-clients no\n"
        );
        let (certificate, private_key) = (certificate.to_owned(), private_key.to_owned());
        (Self::start_as(Kind { settings, certificate, private_key, ..Kind::default() }), tls_port)
    }

    /// Three masters that share the keys among them.
    pub fn cluster() -> [Self; 3] {
        let settings = || format!("cluster-enabled yes\ncluster-port {}\n", ports::reserve().port());
        let nodes = [(); 3].map(|()| Self::start_as(Kind { settings: settings(), ..Kind::default() }));
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let create =
            [&["--cluster", "create"][..], &addresses.iter().map(String::as_str).collect::<Vec<_>>()[..], &["--cluster-yes"]];
        nodes[0].cli(&create.concat());
        for node in &nodes {
            wait_until("the cluster is whole", || node.cli(&["cluster", "info"]).contains("cluster_state:ok"));
        }
        nodes
    }

    fn start_as(kind: Kind) -> Self {
        let port = ports::reserve().port();
        let run = Run::start(port, &kind).expect("redis-server starts; is it installed?");
        Self { port, run: Mutex::new(run), kind }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command as `redis-cli` takes it, and returns the answer as it prints it.
    ///
    /// # Panics
    /// When Redis does not answer.
    pub fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(command).output();
        let output = output.expect("redis-cli starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the answer is text").trim_end().to_owned()
    }

    /// How often a command was carried out since the start.
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.cli(&["info", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls="))?.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// How far it has come in what a master tells its replicas.
    pub fn replication_offset(&self) -> u64 {
        let info = self.cli(&["info", "replication"]);
        let offset = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:")?.trim().parse().ok());
        offset.expect("every server has one")
    }

    /// Connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// With all it knew.
    pub fn kill(&self) {
        self.signal("KILL");
        wait_until("it is gone", || TcpStream::connect(("127.0.0.1", self.port)).is_err());
    }

    /// After [`kill`](Self::kill), on the same port; it knows nothing.
    pub fn restart(&self) {
        let mut run = self.run.lock().expect("no test panics here");
        run.end();
        *run = Run::start(self.port, &self.kind).expect("its port is free");
    }

    fn signal(&self, signal: &str) {
        let pid = self.run.lock().expect("no test panics here").pid.clone();
        let status = Command::new("kill").args([&format!("-{signal}"), &pid]).status().expect("kill starts");
        assert!(status.success(), "the server runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(run) = self.run.get_mut() {
            run.end();
        }
    }
}

impl Run {
    fn start(port: u16, kind: &Kind) -> Option<Self> {
        let own = &kind.settings;
        let mut watcher = Command::new("sh")
            .args(["-c", SERVE])
            .env("SETTINGS", format!("port {port}\nbind 127.0.0.1\nsave \"\"\nappendonly no\n{own}"))
            .env("MODE", if kind.is_sentinel { "--sentinel" } else { "" })
            .env("CERTIFICATE", &kind.certificate)
            .env("PRIVATE_KEY", &kind.private_key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut pid = String::new();
        BufReader::new(watcher.stdout.take().expect("it was piped")).read_line(&mut pid).expect("a line is text");
        let mut run = Self { pid: pid.trim_end().to_owned(), watcher };
        let answers = comes_true(|| answers(port));
        if !answers {
            run.end();
        }
        answers.then_some(run)
    }

    fn end(&mut self) {
        // Closes the pipe that the shell waits on.
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut pong = [0; 5];
    stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut pong)).is_ok() && pong == *b"+PONG"
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    assert!(comes_true(holds), "did not come true: {what}");
}

/// Within ten seconds.
fn comes_true(holds: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        holds() || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }
    })
}
