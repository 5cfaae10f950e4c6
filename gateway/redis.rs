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
mod tests;
