//! The connections, and how a question is asked over one.
//!
//! What must stay true here:
//! - A question is answered within `timeout`, getting a connection included. A connection that failed, whose question was not
//!   answered in time, or whose asker left, is closed and not used again.
//! - A change is one transaction, and takes two round trips where it is one statement: what begins it goes out together with the
//!   statement, and the commit only after the answer. The server ends it by itself when a statement takes too long, waits too long for a lock, or the
//!   gateway falls silent in its midst, so that a frozen gateway holds no lock for long. What was given up here is never done
//!   later over there, for nobody is left to commit it. The limits hold for the transaction alone: behind a PgBouncer a
//!   connection is shared with others, and nothing of ours may stay on it.
//! - What a change answered is on the disk of the server.
//! - Connections live on the runtime that asks first: questions are asked on one runtime, the background's.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod};
use futures_util::future;
use tokio_postgres::error::SqlState;

use super::errors::Failure;
use super::events;
use super::partitions::Partitions;
use super::servers::Servers;
use crate::clock;
use crate::config::{self, PostgresUrl};
use crate::model::audit_event::Actor;
use crate::store::StoreError;

/// The limit of questions over whole tables, migrations and reports: whoever asks them would rather wait.
const PATIENCE: Duration = Duration::from_mins(10);

/// Until a connection may be free again, where the server gives no more. It is asked for one each time.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// One PostgreSQL database. Clones share its connections, which close when the last clone is gone.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    pub(super) timeout: Duration,
    pub(super) partitions: Arc<Partitions>,
    pub(super) url: Arc<PostgresUrl>,
    /// Where changes are listened for.
    pub(super) listen_url: Arc<PostgresUrl>,
    pub(super) listen_servers: Servers,
    /// A statement that says who makes the changes, where it is known.
    actor: Option<Arc<str>>,
}

impl PostgresStore {
    /// Connects to nothing yet.
    pub fn new(url: &PostgresUrl, config: &config::Store) -> Self {
        let recycle = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let (url, timeout) = (Arc::new(url.clone()), config.timeout);
        let servers = Servers::of(&url, timeout);
        let listen_url = config.listen_url.clone().map_or_else(|| Arc::clone(&url), Arc::new);
        let listen_servers = if config.listen_url.is_some() { Servers::of(&listen_url, timeout) } else { servers.clone() };
        let manager = Manager::from_connect(url.connection.clone(), servers, recycle);
        let pool = Pool::builder(manager).max_size(config.pool_size.get()).build().expect("a pool without timeouts of its own");
        Self { pool, timeout, partitions: Arc::default(), url, listen_url, listen_servers, actor: None }
    }

    #[must_use]
    pub fn acting_as(&self, actor: &Actor) -> Self {
        Self { actor: Some(events::says_who(actor).into()), ..self.clone() }
    }

    /// One statement that changes nothing.
    pub(super) async fn read<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.ask(self.timeout, async |client| question(client).await).await
    }

    /// All or nothing: a failure takes back what was done. The question's statements are within a transaction.
    pub(super) async fn change<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.transact(self.timeout, question).await
    }

    /// As [`read`](Self::read), for a question that goes over whole tables.
    pub(super) async fn report<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.ask(PATIENCE, async |client| question(client).await).await
    }

    /// As [`change`](Self::change), for a change of whole tables.
    pub(super) async fn overhaul<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.transact(PATIENCE, question).await
    }

    /// What begins it is on its way when the question is asked, and carried out first. Where a limit is refused, the server
    /// refuses all that follows, too.
    async fn transact<T>(
        &self,
        limit: Duration,
        question: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.ask(limit, async |client| {
            let begin = begin(limit, self.actor.as_deref());
            let (started, answer) = future::join(client.batch_execute(&begin), question(client)).await;
            let answer = started.map_err(Failure::from).and(answer);
            match answer {
                Ok(_) => client.batch_execute("COMMIT").await?,
                // A connection that is broken has rolled back already. Else the locks are gone before anybody hears of the failure.
                Err(_) => drop(client.batch_execute("ROLLBACK").await),
            }
            answer
        })
        .await
    }

    async fn ask<T>(&self, limit: Duration, question: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, StoreError> {
        let in_words = |failure: Failure| failure.in_words(&self.url, limit);
        let deadline = clock::monotonic() + limit;
        let lent = Lent(Some(self.connection().await?));
        let answer = tokio::time::timeout_at(deadline.into(), question(&lent)).await;
        let answer = answer.map_err(|_| StoreError::Timeout(limit))?;
        if answer.as_ref().err().is_none_or(Failure::leaves_the_connection_sound) {
            lent.give_back();
        }
        answer.map_err(in_words)
    }

    /// When the server has no connection left, one of those that it gave before, as soon as it is free. Nothing helps to connect
    /// that did not within the time of an ordinary question.
    async fn connection(&self) -> Result<Client, StoreError> {
        let deadline = clock::monotonic() + self.timeout;
        loop {
            let connected = tokio::time::timeout_at(deadline.into(), self.pool.get()).await.map_err(|_| self.no_connection())?;
            let error = match connected {
                Ok(client) => return Ok(client),
                Err(PoolError::Backend(error)) => error,
                Err(other) => unreachable!("the pool has no timeouts and is never closed: {other}"),
            };
            let is_full = error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) && self.pool.status().size > 0;
            if !is_full || clock::monotonic() + LOOK_AGAIN > deadline {
                return Err(Failure::Postgres(error).in_words(&self.url, self.timeout));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Either the server does not answer, or our own questions have all the connections.
    fn no_connection(&self) -> StoreError {
        let status = self.pool.status();
        let address = self.url.address();
        let timeout = self.timeout;
        StoreError::Unavailable(match status.size >= status.max_size {
            true => format!(
                "all {} connections to PostgreSQL at {address} were in use for {timeout:?}; raise store.pool_size, or see what is slow there",
                status.max_size
            ),
            false => format!("PostgreSQL at {address} did not answer within {timeout:?}; check that it runs and can be reached"),
        })
    }
}

/// Shows no password.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresStore({})", self.url.address())
    }
}

/// A lock is waited for half of the time, so that the server's word comes before our patience ends.
fn begin(limit: Duration, says_who: Option<&str>) -> String {
    let (millis, for_a_lock) = (limit.as_millis(), (limit.as_millis() / 2).max(1));
    format!(
        "BEGIN; SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {for_a_lock}; \
         SET LOCAL idle_in_transaction_session_timeout = {millis}; {}",
        says_who.unwrap_or_default()
    )
}

/// A connection with a question under way. Dropped before the answer came, it closes.
struct Lent(Option<Client>);

impl Lent {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Client::take(client));
        }
    }
}

impl Deref for Lent {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.0.as_ref().expect("it is given back at the end")
    }
}

#[cfg(test)]
mod tests;
