//! Four gateways that share the hours of their keys, each with a line of its own to who keeps the count.

use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;
use tempfile::TempDir;

use super::redis::{self, fresh_prefix};
use super::tcp_proxy::TcpProxy;
use super::{Gateway, Key, PATIENCE, Request, Upstream, postgres};

pub struct Fleet {
    pub gateways: Vec<Gateway>,
    /// From each to Redis or PostgreSQL.
    pub lines: Vec<TcpProxy>,
    pub upstream: Upstream,
    _store: Option<TempDir>,
    _database: Option<postgres::Database<'static>>,
}

impl Fleet {
    /// Redis counts; keys are in one SQLite database.
    pub fn on_redis() -> Self {
        Self::on(redis::SHARED.port(), |_| Vec::new())
    }

    /// Where Redis can be reached, and the environment of each gateway.
    pub fn on(redis: u16, environment: impl Fn(usize) -> Vec<(&'static str, String)>) -> Self {
        let (upstream, store, prefix) = (Upstream::ok(), tempfile::tempdir().expect("a temporary folder"), fresh_prefix());
        let lines: Vec<_> = (0..4).map(|_| TcpProxy::before(redis)).collect();
        let settings = |line: &TcpProxy| {
            let (file, port) = (store.path().join("gateway.db"), line.port());
            format!(
                "store.url = \"sqlite:{}\"\n[redis]\nurl = \"redis://127.0.0.1:{port}\"\nprefix = \"{prefix}\"\n{REJECT}",
                file.display()
            )
        };
        let gateways = start(&upstream, lines.iter().map(settings), environment);
        Self { gateways, lines, upstream, _store: Some(store), _database: None }
    }

    /// PostgreSQL has the keys and counts.
    pub fn on_postgres() -> Self {
        let (upstream, database) = (Upstream::ok(), postgres::SHARED.database());
        let lines: Vec<_> = (0..4).map(|_| TcpProxy::before(postgres::SHARED.port())).collect();
        let direct = Gateway::stopped(upstream.address(), &format!("store.url = \"{}\"", database.url()));
        direct.cli_json(&["migrate", "up"]);
        let settings =
            |line: &TcpProxy| format!("[store]\nurl = \"{}\"\ntimeout = \"500ms\"\n{REJECT}", database.url_through(line.port()));
        let gateways = start(&upstream, lines.iter().map(settings), |_| Vec::new());
        Self { gateways, lines, upstream, _store: None, _database: Some(database) }
    }

    pub fn create_key(&self, options: &[&str]) -> Key {
        self.gateways[0].create_key(options)
    }

    /// So many requests to each at once. Returns how many were admitted by all.
    pub fn admitted(&self, key: &Key, each: usize) -> usize {
        thread::scope(|scope| {
            let clients: Vec<_> = self.gateways.iter().map(|gateway| scope.spawn(|| admitted(gateway, key, each))).collect();
            clients.into_iter().map(|client| client.join().expect("no client panics")).sum()
        })
    }
}

/// Nobody counts alone, so that nothing above the limit is excused.
const REJECT: &str = "[limits]\non_redis_failure = \"reject\"";

fn start(
    upstream: &Upstream,
    settings: impl Iterator<Item = String>,
    environment: impl Fn(usize) -> Vec<(&'static str, String)>,
) -> Vec<Gateway> {
    let mut gateways: Vec<_> = settings.map(|own| Gateway::stopped(upstream.address(), &own)).collect();
    for (number, gateway) in gateways.iter_mut().enumerate() {
        for (name, value) in environment(number) {
            gateway.set_environment(name, &value);
        }
        gateway.run();
    }
    gateways
}

/// One after the other, over one connection. What was refused because nobody could be asked is asked again: on a busy machine an
/// answer may be late.
pub fn admitted(gateway: &Gateway, key: &Key, requests: usize) -> usize {
    let mut connection = gateway.connect();
    let mut is_admitted = || {
        let bound = clock::monotonic() + PATIENCE;
        loop {
            match connection.ask(&Request::get("/").key(key)).status {
                503 if clock::monotonic() < bound => thread::sleep(Duration::from_millis(10)),
                status => return status == 200,
            }
        }
    };
    (0..requests).filter(|_| is_admitted()).count()
}

/// As [`admitted`], of a gateway that can ask nobody.
pub fn admitted_alone(gateway: &Gateway, key: &Key, requests: usize) -> usize {
    let mut connection = gateway.connect();
    (0..requests).filter(|_| connection.ask(&Request::get("/").key(key)).status == 200).count()
}
