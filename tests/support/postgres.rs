//! PostgreSQL for tests: a server of its own on a free port, a database for each test.
//!
//! What must stay true here: the server and its folder go with the process that started them, however that ends. A shell
//! watches over both: it waits on a pipe that only this process holds, and cleans up once the pipe closes.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The one server of this test binary, for tests that do it no harm.
pub static SHARED: LazyLock<Server> = LazyLock::new(Server::start);

/// Anybody is let in without a password, but `stranger`.
const SERVE: &str = r#"
trap '' INT TERM HUP
folder=$(mktemp -d) && cd "$folder" || exit 1
trap 'rm -rf "$folder"' EXIT
"$BIN/initdb" -D data -U postgres --auth=trust --no-sync --no-instructions --locale=C -E UTF8 >log 2>&1 || { cat log; exit 1; }
{ echo 'host all stranger 127.0.0.1/32 scram-sha-256'; echo 'host all all 127.0.0.1/32 trust'; } >data/pg_hba.conf
cat >>data/postgresql.conf <<END
listen_addresses = '127.0.0.1'
port = $PORT
unix_socket_directories = ''
max_connections = 200
shared_buffers = 32MB
fsync = off
END
"$BIN/pg_ctl" -D data -l log -w start >/dev/null || { cat log; exit 1; }
echo "in $folder"
read end
"$BIN/pg_ctl" -D data -m immediate stop >/dev/null
"#;

/// A server that ends when it is dropped.
pub struct Server {
    port: u16,
    folder: PathBuf,
    bin: PathBuf,
    watcher: Child,
}

impl Server {
    /// # Panics
    /// When PostgreSQL is not installed, or does not start on any of several ports.
    pub fn start() -> Self {
        let bin = bin();
        // Somebody else may take a port between its choice and its use.
        (0..5).find_map(|_| Self::start_on(free_port(), &bin)).expect("PostgreSQL starts; it says why not above")
    }

    fn start_on(port: u16, bin: &PathBuf) -> Option<Self> {
        let mut watcher = as_ordinary_user("sh")
            .args(["-c", SERVE])
            .env("BIN", bin)
            .env("PORT", port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut output = BufReader::new(watcher.stdout.take().expect("it was piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line is text");
        if let Some(folder) = line.trim_end().strip_prefix("in ") {
            return Some(Self { port, folder: folder.into(), bin: bin.clone(), watcher });
        }
        output.read_to_string(&mut line).expect("the log is text");
        eprintln!("{line}");
        watcher.wait().expect("it is a child");
        None
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new one, empty.
    pub fn database(&self) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        Database { server: self, name }
    }

    /// Runs statements and returns what they answer: a line for each row, `|` between its columns.
    ///
    /// # Panics
    /// When one fails.
    pub fn psql(&self, database: &str, statements: &str) -> String {
        let output = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", statements])
            .output()
            .expect("psql starts");
        let says = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements}: {says}");
        String::from_utf8(output.stdout).expect("the answer is text").trim_end().to_owned()
    }

    /// As a machine that lost its power: every process is killed, and what it had not written is lost.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    /// Connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    pub fn stop(&self) {
        self.pg_ctl(&["-m", "fast", "stop"]);
    }

    /// After [`kill`](Self::kill) or [`stop`](Self::stop), on the same port.
    pub fn start_again(&self) {
        self.pg_ctl(&["-l", "log", "start"]);
    }

    fn pg_ctl(&self, args: &[&str]) {
        let mut command = as_ordinary_user(self.bin.join("pg_ctl"));
        // It must not hold on to our pipes for as long as the server lives.
        command.current_dir(&self.folder).args(["-D", "data", "-w"]).args(args).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("pg_ctl starts").success(), "pg_ctl {args:?}");
    }

    /// The postmaster first, so that it starts nothing for what follows.
    fn signal(&self, signal: &str) {
        let Ok(pid_file) = std::fs::read_to_string(self.folder.join("data/postmaster.pid")) else { return };
        let postmaster = pid_file.lines().next().expect("the first line is its number");
        let children = || std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        let before = children();
        let kill = |pid: &str| Command::new("kill").args([&format!("-{signal}"), pid]).stderr(Stdio::null()).status();
        kill(postmaster).expect("kill starts");
        for pid in before.split_whitespace().chain(children().split_whitespace()) {
            kill(pid).expect("kill starts");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.thaw();
        drop(self.watcher.stdin.take());
        self.watcher.wait().expect("it is a child");
    }
}

/// A database that goes when it is dropped.
pub struct Database<'a> {
    server: &'a Server,
    name: String,
}

impl Database<'_> {
    pub fn url(&self) -> String {
        self.url_through(self.server.port)
    }

    /// As if the server were at another port.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{}", self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As [`Server::psql`].
    pub fn sql(&self, statements: &str) -> String {
        self.server.psql(&self.name, statements)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.server.psql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}

/// PostgreSQL refuses to run as root.
fn as_ordinary_user(program: impl Into<PathBuf>) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let program = program.into();
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program).current_dir("/");
    command
}

/// Where Debian keeps the newest version.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let versions = versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().expect("PostgreSQL is installed");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free").port()
}
