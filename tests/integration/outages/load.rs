//! Light load that goes on through an outage, and what became of each request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hokusai_gateway::clock;
use hokusai_gateway::model::api_key::{ApiKey, Environment};

use crate::support::postgres::Database;
use crate::support::{Connection, Gateway, Key, Request, eventually};

/// What a known key waits at most, whatever is away. Twice what a gateway without an outage took on the same machine comes to it:
/// other programs share the cores.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Between two requests of one client: fifty a second for each known key at each gateway.
const PAUSE: Duration = Duration::from_millis(20);
/// The clients of made-up keys: each of these keys is new, and has our checksum.
const PAUSE_OF_MADE_UP: Duration = Duration::from_millis(50);

/// Whose request it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The key with this id, which each gateway knew before.
    Known(String),
    MadeUp,
    /// At a gateway that has no outage and asks for no key.
    Nobody,
}

#[derive(Debug)]
pub struct Outcome {
    pub who: Who,
    pub asked_at: Instant,
    pub waited: Duration,
    pub status: u16,
}

impl Outcome {
    fn is_right(&self) -> bool {
        self.status == 200 || self.status == 429 && self.who == Who::Known("scarce".to_owned())
    }
}

/// Runs until [`Load::end`].
pub struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Outcome>>>,
}

impl Load {
    /// One client for each key, and one with made-up keys, at each gateway.
    pub fn start(gateways: &[Gateway], keys: &[&Key], control: &Gateway) -> Self {
        let mut load = Self { is_over: Arc::default(), clients: Vec::new() };
        for gateway in gateways {
            for &key in keys {
                let secret = key.secret.clone();
                load.add(gateway.address(), Who::Known(key.id.clone()), PAUSE, move || secret.clone());
            }
            load.add(gateway.address(), Who::MadeUp, PAUSE_OF_MADE_UP, made_up);
            load.add(control.address(), Who::Nobody, PAUSE, String::new);
        }
        load
    }

    fn add(&mut self, address: SocketAddr, who: Who, pause: Duration, secret: impl Fn() -> String + Send + 'static) {
        let is_over = Arc::clone(&self.is_over);
        let client = thread::spawn(move || {
            let mut connection = Connection::to(address);
            let mut outcomes = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let request = numbered().header("X-API-Key", &secret());
                let asked_at = clock::monotonic();
                let status = connection.ask(&request).status;
                outcomes.push(Outcome { who: who.clone(), asked_at, waited: clock::monotonic() - asked_at, status });
                thread::sleep(pause);
            }
            outcomes
        });
        self.clients.push(client);
    }

    pub fn end(self) -> Record {
        self.is_over.store(true, Ordering::Relaxed);
        let outcomes = self.clients.into_iter().flat_map(|client| client.join().expect("each request is answered"));
        Record { outcomes: outcomes.collect() }
    }
}

/// Each request has an id of its own.
pub fn numbered() -> Request {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Request::get("/").header("X-Request-ID", &format!("request-{number}"))
}

pub fn made_up() -> String {
    ApiKey::mint("hk", Environment::Production).expect("there is randomness").expose().to_owned()
}

/// Every request of a load.
pub struct Record {
    outcomes: Vec<Outcome>,
}

impl Record {
    /// That each request of a known key was let in or, by its limit, turned away, and in good time.
    #[track_caller]
    pub fn known_keys_went_on(&self) {
        let bound = LONGEST_WAIT + 2 * self.machine();
        let known: Vec<_> = self.outcomes.iter().filter(|outcome| matches!(outcome.who, Who::Known(_))).collect();
        let bad: Vec<_> = known.iter().filter(|outcome| !outcome.is_right() || outcome.waited > bound).collect();
        assert!(known.len() > 200, "there was no load: {} requests", known.len());
        assert!(bad.is_empty(), "{} of {} within {bound:?}: {:#?}", bad.len(), known.len(), &bad[..bad.len().min(10)]);
    }

    /// How requests with made-up keys were answered that were begun in this time, each kind once.
    pub fn made_up_keys(&self, from: Instant, until: Instant) -> Vec<u16> {
        let asked = |outcome: &&Outcome| outcome.who == Who::MadeUp && outcome.asked_at >= from && outcome.asked_at < until;
        let mut statuses: Vec<u16> = self.outcomes.iter().filter(asked).map(|outcome| outcome.status).collect();
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    }

    /// That each request that was let in has one row.
    #[track_caller]
    pub fn is_written_once(&self, database: &Database<'_>) {
        let is_let_in = |outcome: &&Outcome| outcome.who != Who::Nobody && outcome.status == 200;
        let complete = format!("{0} {0}", self.outcomes.iter().filter(is_let_in).count());
        let sql = "SELECT count(*) || ' ' || count(DISTINCT request_id) FROM api_key_usage WHERE request_id LIKE 'request-%'";
        eventually("each request has a row", || database.sql(sql) == complete);
    }

    pub fn admitted_of(&self, key: &Key) -> u64 {
        let who = Who::Known(key.id.clone());
        self.outcomes.iter().filter(|outcome| outcome.who == who && outcome.status == 200).count() as u64
    }

    /// The longest that the gateway without an outage took.
    fn machine(&self) -> Duration {
        let of_nobody = self.outcomes.iter().filter(|outcome| outcome.who == Who::Nobody);
        of_nobody.map(|outcome| outcome.waited).max().expect("it was asked")
    }
}
