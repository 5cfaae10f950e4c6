//! PostgreSQL for tests: a server of its own on a free port, a database for each test.
//!
//! What must stay true here: the server and its folder go with the process that started them, however that ends. A shell
//! watches over both: it waits on a pipe that only this process holds, and cleans up once the pipe closes.

#![allow(dead_code, reason = "each test binary uses another part of it")]

mod database;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;

pub use self::database::Database;
use super::ports;

/// The one server of this test binary, for tests that do it no harm.
pub static SHARED: LazyLock<Server> = LazyLock::new(Server::start);

/// Anybody is let in without a password, but `stranger`. With a primary, its copy that follows it.
const WATCH: &str = r#"
trap '' INT TERM HUP
folder=$(mktemp -d) && cd "$folder" || exit 1
trap 'rm -rf "$folder"' EXIT
make() {
    "$BIN/initdb" -D data -U postgres --auth=trust --no-sync --no-instructions --locale=C -E UTF8 || return
    { echo 'host all stranger 127.0.0.1/32 scram-sha-256'; echo 'host all,replication all 127.0.0.1/32 trust'; } >data/pg_hba.conf
    cat >>data/postgresql.conf <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
timezone = 'UTC'
max_connections = 200
shared_buffers = 32MB
fsync = off
END
    [ -n "$CERTIFICATE" ] || return 0
    umask 077
    echo "$CERTIFICATE" >data/server.crt
    echo "$PRIVATE_KEY" >data/server.key
    echo 'ssl = on' >>data/postgresql.conf
}
copy() {
    "$BIN/pg_basebackup" -d "host=127.0.0.1 user=postgres port=$PRIMARY" -D data -R -c fast -N
}
{ if [ -n "$PRIMARY" ]; then copy; else make; fi; } >log 2>&1 || { cat log; exit 1; }
echo "in $folder"
read end
"$BIN/pg_ctl" -D data -m immediate stop >/dev/null 2>&1
"#;

/// A server that ends when it is dropped.
pub struct Server {
    port: u16,
    folder: PathBuf,
    bin: PathBuf,
    watcher: Child,
    postmaster: Mutex<Option<Child>>,
}

impl Server {
    /// # Panics
    /// When PostgreSQL is not installed, or does not start.
    pub fn start() -> Self {
        Self::start_in(&[])
    }

    /// With TLS, by a certificate and its key in PEM.
    pub fn start_with(certificate: &str, private_key: &str) -> Self {
        Self::start_in(&[("CERTIFICATE", certificate), ("PRIVATE_KEY", private_key)])
    }

    /// One that follows this one, and whose word this one waits for from now on: what was committed here is there.
    pub fn standby(&self) -> Self {
        let standby = Self::start_in(&[("PRIMARY", &self.port.to_string())]);
        self.psql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.psql("postgres", "SELECT pg_reload_conf()");
        standby
    }

    /// A standby takes writes from now on.
    pub fn promote(&self) {
        assert_eq!(self.psql("postgres", "SELECT pg_promote()"), "t");
    }

    fn start_in(environment: &[(&str, &str)]) -> Self {
        let bin = bin();
        let (watcher, folder) = watched_folder(&bin, environment);
        let server = Self { port: ports::reserve().port(), folder, bin, watcher, postmaster: Mutex::default() };
        let log = || fs::read_to_string(server.folder.join("log")).unwrap_or_default();
        assert!(server.begin(), "PostgreSQL does not start: {}", log());
        server
    }

    /// Whether it answers; else it has ended.
    fn begin(&self) -> bool {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("the folder is there");
        let mut postmaster = as_ordinary_user(self.bin.join("postgres"))
            .current_dir(&self.folder)
            .args(["-D", "data", "-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("PostgreSQL starts");
        while !self.answers() {
            if postmaster.try_wait().expect("it is a child").is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        *self.postmaster.lock().expect("nothing panics while it holds it") = Some(postmaster);
        true
    }

    fn answers(&self) -> bool {
        let mut question = Command::new(self.bin.join("pg_isready"));
        question.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).status().expect("pg_isready starts").success()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new one, empty.
    pub fn database(&self) -> Database<'_> {
        self.database_with("")
    }

    /// With options of `CREATE DATABASE`.
    pub fn database_with(&self, options: &str) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} {options}"));
        Database { server: self, name }
    }

    /// Runs statements and returns what they answer: a line for each row, `|` between its columns.
    ///
    /// # Panics
    /// When one fails.
    pub fn psql(&self, database: &str, statements: &str) -> String {
        self.try_psql(database, statements).unwrap_or_else(|says| panic!("{statements}: {says}"))
    }

    /// Else what the server says.
    fn try_psql(&self, database: &str, statements: &str) -> Result<String, String> {
        let output = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", statements])
            .output()
            .expect("psql starts");
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).expect("the answer is text").trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// As a machine that lost its power: every process is killed at once.
    pub fn kill(&self) {
        self.signal("KILL");
        self.ended();
    }

    /// After [`kill`](Self::kill), on the same port. What was killed may hold the shared memory a little longer.
    pub fn start_again(&self) {
        assert!((0..20).any(|_| self.begin()), "PostgreSQL does not start again");
    }

    /// Connects until nobody else can. The connections end when they are dropped.
    pub fn use_up_connections(&self) -> Vec<TcpStream> {
        std::iter::from_fn(|| self.session()).collect()
    }

    /// `None`: nobody is let in any more.
    fn session(&self) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let mut first = [0];
        stream.write_all(b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0").expect("it reads");
        stream.read_exact(&mut first).expect("it answers");
        (first == *b"R").then_some(stream)
    }

    /// Connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The postmaster first, so that it starts nothing for what follows.
    fn signal(&self, signal: &str) {
        let Some(postmaster) = self.postmaster_id() else { return };
        let children = || fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        let before = children();
        self.signal_postmaster(signal);
        before.split_whitespace().chain(children().split_whitespace()).for_each(|child| kill(signal, child));
    }

    fn signal_postmaster(&self, signal: &str) {
        if let Some(postmaster) = self.postmaster_id() {
            kill(signal, &postmaster.to_string());
        }
    }

    fn postmaster_id(&self) -> Option<u32> {
        self.postmaster.lock().expect("nothing panics while it holds it").as_ref().map(Child::id)
    }

    fn ended(&self) {
        let postmaster = self.postmaster.lock().expect("nothing panics while it holds it").take();
        postmaster.expect("it was running").wait().expect("it is a child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.postmaster_id().is_some() {
            self.kill();
        }
        drop(self.watcher.stdin.take());
        self.watcher.wait().expect("it is a child");
    }
}

/// Makes the folder of a server, and who removes it.
fn watched_folder(bin: &Path, environment: &[(&str, &str)]) -> (Child, PathBuf) {
    let mut watcher = as_ordinary_user("sh")
        .args(["-c", WATCH])
        .env("BIN", bin)
        .envs([("CERTIFICATE", ""), ("PRIMARY", "")])
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    let mut output = BufReader::new(watcher.stdout.take().expect("it was piped"));
    let mut says = String::new();
    output.read_line(&mut says).expect("a line is text");
    let Some(folder) = says.trim_end().strip_prefix("in ").map(PathBuf::from) else {
        output.read_to_string(&mut says).expect("the log is text");
        panic!("initdb failed: {says}");
    };
    (watcher, folder)
}

/// It may have ended by itself.
fn kill(signal: &str, process: &str) {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{signal}"), process]).stderr(Stdio::null()).status().expect("kill starts");
}

/// PostgreSQL refuses to run as root.
fn as_ordinary_user(program: impl Into<PathBuf>) -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let program = program.into();
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

/// Where Debian keeps the newest version.
fn bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let versions = versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().expect("PostgreSQL is installed");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}
