//! The real binary in a folder of its own, on ports the system chose.

mod surroundings;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rusqlite::Connection as Database;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Connection, Request, Response};
use super::eventually;
use super::settings::settings;

const BINARY: &str = env!("CARGO_BIN_EXE_hokusai-gateway");

/// Time to start on a machine that runs many tests at once.
const STARTUP: Duration = Duration::from_secs(30);

/// Killed when dropped. What it logged is shown when its test fails.
pub struct Gateway {
    folder: TempDir,
    environment: Vec<(String, String)>,
    log: Arc<Mutex<String>>,
    running: Option<Running>,
}

struct Running {
    process: Child,
    /// In the order of its log: cleartext first, then TLS.
    traffic: Vec<SocketAddr>,
    admin: SocketAddr,
}

/// A key as `keys create` gave it out.
#[derive(Clone, Debug)]
pub struct Key {
    pub secret: String,
    pub id: String,
}

impl Gateway {
    /// Before the upstream at `app`, with `own` settings over the defaults.
    pub fn start(app: SocketAddr, own: &str) -> Self {
        let mut gateway = Self::stopped(app, own);
        gateway.run();
        gateway
    }

    /// Everything but the process.
    pub fn stopped(app: SocketAddr, own: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let gateway = Self { folder, environment: Vec::new(), log: Arc::default(), running: None };
        gateway.configure(app, own);
        gateway
    }

    /// For each process of it from now on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it in the same folder, on new ports.
    pub fn run(&mut self) {
        let serve = self.command(&["serve"]);
        self.run_by(serve);
    }

    /// Writes other settings to its file; [`reload`](Self::reload) or the next start puts them in force.
    pub fn configure(&self, app: SocketAddr, own: &str) {
        fs::write(self.folder.path().join("gateway.toml"), settings(app, own)).expect("the folder can be written to");
    }

    /// Tells it to read its file again by SIGHUP, and waits until it has.
    pub fn reload(&self) {
        let reloads = || -> u64 {
            let metrics = self.metrics();
            metrics.iter().filter(|(name, _)| name.starts_with("gateway_config_reloads_total")).map(|(_, count)| count).sum()
        };
        let before = reloads();
        signal("HUP", self.process_id());
        eventually("it has reloaded", || reloads() > before);
    }

    fn run_by(&mut self, mut serve: Command) {
        assert!(self.running.is_none(), "it runs already");
        let mut process = serve.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = process.stderr.take().expect("stderr is piped");
        let (listening, heard) = mpsc::channel();
        let log = self.log.clone();
        thread::spawn(move || follow(stderr, &log, &listening));
        let Ok((traffic, admin)) = heard.recv_timeout(STARTUP) else {
            let _ = process.kill();
            panic!("the gateway never listened: {}", self.log());
        };
        self.running = Some(Running { process, traffic, admin });
    }

    pub fn address(&self) -> SocketAddr {
        self.running().traffic[0]
    }

    /// The first address beyond cleartext.
    pub fn tls_address(&self) -> SocketAddr {
        *self.running().traffic.last().expect("it listens")
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.running().admin
    }

    pub fn connect(&self) -> Connection {
        Connection::to(self.address())
    }

    /// Over a connection of its own.
    #[track_caller]
    pub fn ask(&self, request: &Request) -> Response {
        request.send_to(self.address())
    }

    #[track_caller]
    pub fn ask_admin(&self, path: &str) -> Response {
        Request::get(path).send_to(self.admin_address())
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.process.kill().expect("it can be killed");
        running.process.wait().expect("it can be waited for");
    }

    /// Asks it to end by SIGTERM.
    pub fn terminate(&self) {
        signal("TERM", self.running().process.id());
    }

    /// Waits for its end after [`terminate`](Self::terminate).
    pub fn wait(&mut self) -> ExitStatus {
        self.running.take().expect("it runs").process.wait().expect("it can be waited for")
    }

    /// Runs a command of the binary with this gateway's settings.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// The JSON a command printed. It must have succeeded.
    #[track_caller]
    pub fn cli_json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON on stdout")
    }

    #[track_caller]
    pub fn create_key(&self, options: &[&str]) -> Key {
        let created = self.cli_json(&[&["keys", "create", "--user", "ada", "--name", "laptop"], options].concat());
        let text = |field: &str| created[field].as_str().expect("a text").to_owned();
        Key { secret: text("key"), id: text("key_id") }
    }

    /// A connection of its own to the store, as another program would have.
    pub fn database(&self) -> Database {
        let database = Database::open(self.folder.path().join("gateway.db")).expect("the database opens");
        database.busy_timeout(Duration::from_secs(5)).expect("a timeout can be set");
        database
    }

    /// The store answers no question about keys until they are shown again.
    pub fn hide_keys(&self) {
        self.rename("api_keys", "gone");
    }

    pub fn show_keys(&self) {
        self.rename("gone", "api_keys");
    }

    /// By plain SQL, which writes from its beginning on: SQLite waits for no other writer where it has begun to read.
    fn rename(&self, table: &str, to: &str) {
        let sql = format!("BEGIN IMMEDIATE; ALTER TABLE {table} RENAME TO {to}; COMMIT");
        self.database().execute_batch(&sql).expect("plain SQL works");
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All it wrote to stderr.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic under the lock").clone()
    }

    /// The series of `/metrics` by name and labels as written there; those that count no seconds.
    pub fn metrics(&self) -> HashMap<String, u64> {
        let text = self.ask_admin("/metrics").text();
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        series.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// One series; 0 when it is not there yet.
    pub fn metric(&self, series: &str) -> u64 {
        self.metrics().get(series).copied().unwrap_or_default()
    }

    pub fn process_id(&self) -> u32 {
        self.running().process.id()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the gateway runs")
    }

    /// Nothing of the developer's own environment reaches it.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_by(BINARY, arguments);
        command.args(["-c", "gateway.toml"]);
        command
    }

    fn command_by(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.folder.path()).args(arguments);
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.process.kill();
            let _ = running.process.wait();
        }
        if thread::panicking() {
            eprintln!("--- the gateway said:\n{}---", self.log());
        }
    }
}

/// Sends a signal by name. The shell's own `kill`: a minimal system has no other.
pub fn signal(name: &str, process: u32) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).status().expect("there is a shell");
    assert!(status.success(), "SIG{name} could not be sent");
}

/// Keeps what is logged, and tells once where the gateway listens.
fn follow(stderr: impl Read, log: &Mutex<String>, listening: &mpsc::Sender<(Vec<SocketAddr>, SocketAddr)>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some(addresses) = addresses(&line) {
            // Nobody waits any more when the start took too long.
            let _ = listening.send(addresses);
        }
        let mut log = log.lock().expect("no panic under the lock");
        log.push_str(&line);
        log.push('\n');
    }
}

fn addresses(line: &str) -> Option<(Vec<SocketAddr>, SocketAddr)> {
    let event: Value = serde_json::from_str(line).ok()?;
    if event["message"] != "listening" {
        return None;
    }
    let traffic = event["traffic"].as_str()?.split(',').map(|address| address.trim().parse().ok()).collect::<Option<_>>()?;
    Some((traffic, event["admin"].as_str()?.parse().ok()?))
}
