//! The connections, and how a question is asked over one.
//!
//! What must stay true here:
//! - A question is answered within `timeout`, getting a connection included. A connection whose question was not answered in
//!   time, or whose asker left, is closed and not used again.
//! - A change is one transaction. The server ends it by itself when a statement takes too long or the gateway falls silent in
//!   its midst, so that a frozen gateway holds no lock for long. The limits hold for the transaction alone: behind a PgBouncer
//!   a connection is shared with others, and nothing of ours may stay on it.
//! - What a change answered is on the disk of the server.
//! - Connections live on the runtime that asks first: questions are asked on one runtime, the background's.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Transaction};

use super::errors::Failure;
use super::partitions::KnownDays;
use super::tls;
use crate::clock;
use crate::config::{self, PostgresUrl};
use crate::store::StoreError;

/// The limit of questions over whole tables, migrations and reports: whoever asks them would rather wait.
const PATIENCE: Duration = Duration::from_mins(10);

/// One PostgreSQL database. Clones share its connections, which close when the last clone is gone.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    pub(super) timeout: Duration,
    pub(super) known_days: Arc<KnownDays>,
    pub(super) url: Arc<PostgresUrl>,
    /// Where changes are listened for.
    pub(super) listen_url: Arc<PostgresUrl>,
}

impl PostgresStore {
    /// Connects to nothing yet.
    pub fn new(url: &PostgresUrl, config: &config::Store) -> Self {
        let recycle = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(url.connection.clone(), tls::connector(url), recycle);
        let pool = Pool::builder(manager).max_size(config.pool_size.get()).build().expect("a pool without timeouts of its own");
        let listen_url = config.listen_url.clone().unwrap_or_else(|| url.clone());
        let known_days = Arc::default();
        Self { pool, timeout: config.timeout, known_days, url: Arc::new(url.clone()), listen_url: Arc::new(listen_url) }
    }

    /// One statement that changes nothing.
    pub(super) async fn read<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.ask(self.timeout, async |client| question(client).await).await
    }

    /// One statement that changes something: a transaction by itself, which the server ends however the gateway fares.
    pub(super) async fn change_at_once<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.ask(self.timeout, async |client| question(client).await).await
    }

    /// All or nothing: a failure takes back what was done.
    pub(super) async fn change<T>(
        &self,
        question: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.transact(self.timeout, question).await
    }

    /// As [`read`](Self::read), for a question that goes over whole tables.
    pub(super) async fn report<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.ask(PATIENCE, async |client| question(client).await).await
    }

    /// As [`change`](Self::change), for a change of whole tables.
    pub(super) async fn overhaul<T>(
        &self,
        question: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.transact(PATIENCE, question).await
    }

    async fn transact<T>(
        &self,
        limit: Duration,
        question: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.ask(limit, async |client| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(&limits(limit)).await?;
            let answer = question(&transaction).await;
            match answer {
                Ok(_) => transaction.commit().await?,
                // A connection that is broken has rolled back already. Else the locks are gone before anybody hears of the failure.
                Err(_) => drop(transaction.rollback().await),
            }
            answer
        })
        .await
    }

    async fn ask<T>(
        &self,
        limit: Duration,
        question: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let in_words = |failure: Failure| failure.in_words(&self.url, limit);
        let deadline = clock::monotonic() + limit;
        // Nothing helps to connect that did not within the time of an ordinary question.
        let client = tokio::time::timeout(self.timeout, self.pool.get()).await.map_err(|_| self.no_connection())?;
        let mut lent = Lent(Some(client.map_err(|error| in_words(connecting(error)))?));
        let answer = tokio::time::timeout_at(deadline.into(), question(&mut lent)).await;
        let answer = answer.map_err(|_| StoreError::Timeout(limit))?;
        lent.give_back();
        answer.map_err(in_words)
    }

    /// Either the server does not answer, or our own questions have all the connections.
    fn no_connection(&self) -> StoreError {
        let status = self.pool.status();
        let address = self.url.address();
        let timeout = self.timeout;
        StoreError::Unavailable(match status.size >= status.max_size && status.waiting > 0 {
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

fn limits(limit: Duration) -> String {
    let millis = limit.as_millis();
    format!("SET LOCAL statement_timeout = {millis}; SET LOCAL idle_in_transaction_session_timeout = {millis}")
}

fn connecting(error: PoolError) -> Failure {
    match error {
        PoolError::Backend(error) => Failure::Postgres(error),
        other => unreachable!("the pool has no timeouts and is never closed: {other}"),
    }
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

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Client {
        self.0.as_mut().expect("it is given back at the end")
    }
}
