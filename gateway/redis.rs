//! The one connection to Redis, which several gateways share: it pipelines what all parts of the gateway ask.
//!
//! What must stay true here:
//! - Nobody waits longer than [`PATIENCE`] for an answer, and after the first failure nobody waits at all: [`Redis::ask`] fails at
//!   once until a probe in the background was answered. The probe writes, so a Redis that only lets itself be read is away too.
//! - A question that got no answer in time is never sent again by itself, but may be carried out late: a frozen Redis answers
//!   what it finds in its buffers, in an order that is not the one in which several connections were made.
//! - [`Redis::memory`] tells apart times between which Redis may have forgotten what it acknowledged: a restart or a failover
//!   always breaks the connection.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, KeysInterface, LuaInterface};
use fred::types::config::{ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig};
use fred::types::{Builder, ClientState, ConnectHandle, Expiration, FromValue};

use crate::drain::Tasks;
use crate::observe::metrics::{Gauge, Metrics};
use crate::{clock, config};

#[cfg(test)]
#[path = "../tests/support/ports.rs"]
pub(crate) mod ports;
#[cfg(test)]
#[path = "../tests/support/redis.rs"]
pub(crate) mod testing;

/// For one question, whatever it waits for.
pub const PATIENCE: Duration = Duration::from_millis(50);
/// Between two probes, while Redis answers and while it does not.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// A connection on which nothing was answered for this long is made anew.
const GIVE_UP_CONNECTION: Duration = Duration::from_secs(2);
const RECONNECT_EVERY_MILLIS: u32 = 100;
/// How long a gateway waits for Redis at its start, before it goes on without.
const START_PATIENCE: Duration = Duration::from_millis(500);
/// Questions that may wait to be sent.
const MAX_WAITING: usize = 100_000;

/// Why a question to Redis has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RedisError {
    /// Nothing was sent.
    #[error("Redis cannot be asked: {0}")]
    Away(String),
    /// It may be carried out all the same.
    #[error("Redis did not answer within {PATIENCE:?}")]
    Timeout,
    #[error("Redis failed: {0}")]
    Failed(String),
}

/// Shared by all parts of the gateway.
#[derive(Debug)]
pub struct Redis {
    client: Client,
    prefix: String,
    is_up: AtomicBool,
    memory: AtomicU64,
    /// Why it is away.
    trouble: Mutex<String>,
    metrics: Arc<Metrics>,
}

impl Redis {
    /// Connects, and goes on in the background of the caller until `tasks` stop. Waits for the first answer a short time only:
    /// a Redis that is away is asked again and again.
    pub async fn connect(config: &config::Redis, metrics: &Arc<Metrics>, tasks: &Tasks) -> Arc<Self> {
        let redis = Arc::new(Self {
            client: client(config),
            prefix: config.prefix.clone(),
            is_up: AtomicBool::new(false),
            memory: AtomicU64::new(0),
            trouble: Mutex::new("it has not answered yet".to_owned()),
            metrics: Arc::clone(metrics),
        });
        redis.gauge().set(0);
        let router = redis.client.connect();
        match tokio::time::timeout(START_PATIENCE, redis.client.wait_for_connect()).await {
            Ok(Ok(())) => drop(redis.probe().await),
            Ok(Err(error)) => drop(redis.failed(&error)),
            Err(_) => {}
        }
        tasks.spawn(Arc::clone(&redis).watch(router, tasks.clone()));
        redis
    }

    /// The full name of a key.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What to ask; to be awaited by [`ask`](Self::ask).
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, Error>> + Send,
    ) -> impl Future<Output = Result<T, RedisError>> + Send {
        // The library's futures have ten KiB.
        let question = Box::pin(question);
        async {
            if !self.is_up() {
                return Err(RedisError::Away(self.trouble().clone()));
            }
            question.await.map_err(|error| self.failed(&error))
        }
    }

    /// Runs a script on one key, in one round trip.
    pub async fn run<T: FromValue>(&self, script: &'static str, key: String, arguments: Vec<String>) -> Result<T, RedisError> {
        self.ask(self.client.eval(script, key, arguments)).await
    }

    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// Changes when Redis may have forgotten something.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// One who should be remembered was not.
    pub fn has_forgotten(&self) {
        self.memory.fetch_add(1, Ordering::Relaxed);
    }

    async fn watch(self: Arc<Self>, mut router: ConnectHandle, tasks: Tasks) {
        let (mut connected, mut lost) = (self.client.reconnect_rx(), self.client.error_rx());
        let mut heard_at = clock::monotonic();
        loop {
            tokio::select! {
                _ = connected.recv() => self.has_forgotten(),
                error = lost.recv() => {
                    self.has_forgotten();
                    if let Ok((error, _)) = error {
                        self.failed(&error);
                    }
                }
                ended = &mut router => {
                    // Its first connection failed, which says best what the trouble is.
                    if let Ok(Err(error)) = ended {
                        self.failed(&error);
                    }
                    tokio::time::sleep(PROBE_EVERY).await;
                    router = self.client.connect();
                    continue;
                }
                () = tokio::time::sleep(PROBE_EVERY) => {}
                () = tasks.stopping() => break,
            }
            if self.probe().await {
                heard_at = clock::monotonic();
            } else if clock::monotonic() - heard_at > GIVE_UP_CONNECTION {
                // The library does so only while nothing is written.
                let _ = tokio::time::timeout(PATIENCE, self.client.force_reconnection()).await;
                heard_at = clock::monotonic();
            }
        }
        // Nobody waits for an answer to that.
        let _ = self.client.quit().await;
    }

    /// Whether the connection is not in doubt: it answered, or is being made.
    async fn probe(&self) -> bool {
        if self.client.state() != ClientState::Connected {
            self.is_lost();
            return true;
        }
        let probe = self.client.set::<(), _, _>(self.key("probe"), 1, Some(Expiration::EX(60)), None, false);
        match probe.await {
            Ok(()) => self.answered(),
            Err(error) if matches!(self.failed(&error), RedisError::Timeout) => return false,
            Err(_) => {}
        }
        true
    }

    fn answered(&self) {
        if !self.is_up.swap(true, Ordering::Relaxed) {
            tracing::info!("Redis answers");
        }
        self.gauge().set(1);
    }

    fn failed(&self, error: &Error) -> RedisError {
        let says = words(error.details());
        self.trouble().clone_from(&says);
        self.is_lost();
        match error.kind() {
            ErrorKind::Timeout => RedisError::Timeout,
            _ => RedisError::Failed(says),
        }
    }

    fn is_lost(&self) {
        if self.is_up.swap(false, Ordering::Relaxed) {
            tracing::error!(error = %self.trouble(), "Redis cannot be asked; the gateway goes on without");
        }
        self.gauge().set(0);
    }

    fn gauge(&self) -> &Gauge {
        self.metrics.redis_up.get_or_init(Gauge::default)
    }

    fn trouble(&self) -> MutexGuard<'_, String> {
        self.trouble.lock().expect("nothing panics while it holds the text")
    }
}

/// What the library or Redis says, for an operator.
fn words(details: &str) -> String {
    if details.starts_with("NOAUTH") {
        return "it asks for a password, and its URL has none".to_owned();
    }
    // Errors of the system and of TLS come as they are written for a debugger.
    let between = |start, end| details.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(words, _)| words);
    between("message: \"", "\"").or_else(|| between("error: ", " }")).unwrap_or(details).to_owned()
}

fn client(config: &config::Redis) -> Client {
    Builder::from_config(config.url.servers().clone())
        .with_performance_config(|performance: &mut PerformanceConfig| performance.default_command_timeout = PATIENCE)
        .with_connection_config(|connection: &mut ConnectionConfig| {
            connection.connection_timeout = GIVE_UP_CONNECTION;
            connection.internal_command_timeout = GIVE_UP_CONNECTION;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = MAX_WAITING;
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        })
        .set_policy(ReconnectPolicy::new_constant(0, RECONNECT_EVERY_MILLIS))
        .build()
        .expect("the configuration was checked when it was read")
}

#[cfg(test)]
mod tests {
    use super::testing::Server;
    use super::*;

    async fn connected(server: &Server) -> (Arc<Redis>, Tasks) {
        let tasks = Tasks::new();
        let redis = Redis::connect(&config(server), &Arc::default(), &tasks).await;
        (redis, tasks)
    }

    fn config(server: &Server) -> config::Redis {
        config::Redis::at(&server.url(), "test:")
    }

    async fn ping(redis: &Redis) -> Result<(), RedisError> {
        redis.ask(redis.client().ping::<()>(None)).await
    }

    async fn until(mut fact: impl FnMut() -> bool) {
        let bound = clock::monotonic() + Duration::from_secs(10);
        while !fact() {
            assert!(clock::monotonic() < bound, "it did not come true");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn what_failed_is_told_in_words() {
        for (details, says) in [
            ("Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }", "Connection refused"),
            ("Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }", "InvalidCertificate(UnknownIssuer)"),
            ("WRONGPASS invalid username-password pair", "WRONGPASS invalid username-password pair"),
        ] {
            assert_eq!(words(details), says);
        }
    }

    #[tokio::test]
    async fn a_frozen_redis_costs_one_wait_and_is_asked_again_when_it_answers() {
        let server = Server::start();
        let (redis, _tasks) = connected(&server).await;
        ping(&redis).await.unwrap();
        server.freeze();
        let frozen_at = clock::monotonic();
        assert!(matches!(ping(&redis).await, Err(RedisError::Timeout)));
        assert!(clock::monotonic() - frozen_at < 3 * PATIENCE);
        let asked_again_at = clock::monotonic();
        for _ in 0..1000 {
            assert!(matches!(ping(&redis).await, Err(RedisError::Away(_))));
        }
        assert!(clock::monotonic() - asked_again_at < PATIENCE, "nobody waits any more");
        assert_eq!(redis.gauge().get(), 0);
        server.thaw();
        until(|| redis.is_up()).await;
        ping(&redis).await.unwrap();
        assert_eq!(redis.gauge().get(), 1);
    }

    #[tokio::test]
    async fn a_redis_that_ended_is_noticed_without_asking_and_found_again_with_its_memory_in_doubt() {
        let server = Server::start();
        let (redis, _tasks) = connected(&server).await;
        let memory = redis.memory();
        server.kill();
        until(|| !redis.is_up()).await;
        server.restart();
        until(|| redis.is_up()).await;
        ping(&redis).await.unwrap();
        assert_ne!(redis.memory(), memory);
    }

    #[tokio::test]
    async fn a_redis_that_is_not_there_at_the_start_is_found_later() {
        let server = Server::start();
        server.kill();
        let (redis, tasks) = connected(&server).await;
        assert_eq!(ping(&redis).await.unwrap_err().to_string(), "Redis cannot be asked: Connection refused");
        server.restart();
        until(|| redis.is_up()).await;
        tasks.stop();
        assert_eq!(tasks.wait(Duration::from_secs(5)).await, 0);
    }

    #[tokio::test]
    async fn a_redis_that_takes_no_writes_is_away() {
        let server = Server::start();
        let (redis, _tasks) = connected(&server).await;
        server.cli(&["config", "set", "min-replicas-to-write", "1"]);
        until(|| !redis.is_up()).await;
        server.cli(&["config", "set", "min-replicas-to-write", "0"]);
        until(|| redis.is_up()).await;
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_and_goes_on_being_tried() {
        let server = Server::start();
        server.cli(&["config", "set", "requirepass", "right"]);
        let (redis, _tasks) = connected(&server).await;
        let says = ping(&redis).await.unwrap_err().to_string();
        assert!(says.contains("asks for a password"), "{says}");
        server.cli(&["-a", "right", "config", "set", "requirepass", ""]);
        until(|| redis.is_up()).await;
    }
}
