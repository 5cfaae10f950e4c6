//! The connections, and how a question is asked over one.
//!
//! What must stay true here:
//! - A question is answered within `timeout`, getting a connection included. A connection that failed, whose question was not
//!   answered in time, or whose asker left, is closed and not used again.
//! - A change is one transaction. The server ends it by itself when a statement takes too long, waits too long for a lock, or the
//!   gateway falls silent in its midst, so that a frozen gateway holds no lock for long. What was given up here is never done
//!   later over there, for nobody is left to commit it. The limits hold for the transaction alone: behind a PgBouncer a
//!   connection is shared with others, and nothing of ours may stay on it.
//! - What a change answered is on the disk of the server.
//! - Connections live on the runtime that asks first: questions are asked on one runtime, the background's.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Transaction};
use tokio_postgres::error::SqlState;

use super::errors::Failure;
use super::partitions::Partitions;
use super::servers::Servers;
use crate::clock;
use crate::config::{self, PostgresUrl};
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
        Self { pool, timeout, partitions: Arc::default(), url, listen_url, listen_servers }
    }

    /// One statement that changes nothing.
    pub(super) async fn read<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, StoreError> {
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
        let mut lent = Lent(Some(self.connection().await?));
        let answer = tokio::time::timeout_at(deadline.into(), question(&mut lent)).await;
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
fn limits(limit: Duration) -> String {
    let (millis, for_a_lock) = (limit.as_millis(), (limit.as_millis() / 2).max(1));
    format!(
        "SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {for_a_lock}; \
         SET LOCAL idle_in_transaction_session_timeout = {millis}"
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

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Client {
        self.0.as_mut().expect("it is given back at the end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key_hash::KeyHash;
    use crate::store::testing::postgres_server::{Database, SHARED};
    use crate::store::testing::{add_key, config, postgres_store};
    use crate::store::{JournalPosition, Store};

    async fn migrated() -> Database<'static> {
        let database = SHARED.database();
        postgres_store(&database.url()).migrate_up().await.unwrap();
        database
    }

    fn store(database: &Database<'_>, pool_size: usize, timeout: &str) -> PostgresStore {
        let settings = format!("url = \"{}\"\npool_size = {pool_size}\ntimeout = \"{timeout}\"", database.url());
        match Store::open(&config(&settings).store) {
            Store::Postgres(store) => store,
            Store::Sqlite(store) => panic!("{store:?}"),
        }
    }

    async fn sleep(store: &PostgresStore, seconds: f64) -> Result<(), StoreError> {
        store.read(async |client| Ok(client.execute("SELECT pg_sleep($1)", &[&seconds]).await.map(drop)?)).await
    }

    #[tokio::test]
    async fn a_slow_answer_is_a_timeout_and_its_connection_is_not_used_again() {
        let database = migrated().await;
        let store = store(&database, 1, "300ms");
        assert!(matches!(sleep(&store, 60.0).await, Err(StoreError::Timeout(_))));
        sleep(&store, 0.0).await.unwrap();
    }

    #[tokio::test]
    async fn a_question_whose_asker_left_holds_up_nobody() {
        let database = migrated().await;
        let store = store(&database, 1, "10s");
        sleep(&store, 0.0).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(100), sleep(&store, 60.0)).await.is_err());
        sleep(&store, 0.0).await.unwrap();
    }

    #[tokio::test]
    async fn with_every_connection_in_use_the_operator_is_told_to_raise_their_number() {
        let database = migrated().await;
        let store = store(&database, 1, "300ms");
        sleep(&store, 0.0).await.unwrap();
        let (slow, behind) =
            tokio::join!(store.report(async |client| Ok(client.execute("SELECT pg_sleep(1)", &[]).await?)), sleep(&store, 0.0));
        slow.unwrap();
        assert!(matches!(&behind, Err(StoreError::Unavailable(says)) if says.contains("pool_size")), "{behind:?}");
    }

    const IN_A_TRANSACTION: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND datname = current_database()";

    async fn number(store: &PostgresStore, question: &'static str) -> i64 {
        store.read(async |client| Ok(client.query_one(question, &[]).await?.get(0))).await.unwrap()
    }

    /// Each kind of change meets a lock on what it needs; none is done once the lock is gone.
    #[tokio::test]
    async fn a_change_that_waits_too_long_for_a_lock_is_ended_by_the_server_and_never_done() {
        let database = migrated().await;
        let id = add_key(&postgres_store(&database.url()), "k").await;
        let hour = "INSERT INTO api_key_hours SELECT key_id, floor(extract(epoch FROM now()) / 3600), 7 FROM api_keys";
        database.sql(hour);
        let (patient, hasty) = (store(&database, 1, "20s"), store(&database, 1, "500ms"));
        let held = patient.change(async |transaction| {
            transaction.batch_execute("LOCK TABLE api_keys, api_key_hours, api_key_usage_positions").await?;
            let (spool, upto) = ("spool", JournalPosition { segment: 1, offset: 1 });
            let refusals = [
                hasty.revoke_key(&id, clock::now()).await.map(drop),
                hasty.reset_hour(&id).await,
                hasty.write_usage(spool, None, upto, Arc::default()).await.map(drop),
            ];
            for refusal in refusals {
                assert!(matches!(&refusal, Err(StoreError::Unavailable(says)) if says.contains("lock")), "{refusal:?}");
            }
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            assert_eq!(transaction.query_one(waiting, &[]).await?.get::<_, i64>(0), 0);
            Ok(())
        });
        held.await.unwrap();
        let left = "SELECT (SELECT used FROM api_key_hours), (SELECT is_active FROM api_keys), (SELECT count(*) FROM \
                    api_key_usage_positions)";
        assert_eq!(database.sql(left), "7|t|0");
    }

    /// As a command that is interrupted. The server notices only when it wants to answer.
    #[tokio::test]
    async fn a_change_whose_asker_left_while_it_waited_for_a_lock_is_never_done() {
        let database = migrated().await;
        let id = add_key(&postgres_store(&database.url()), "k").await;
        database.sql("INSERT INTO api_key_hours SELECT key_id, floor(extract(epoch FROM now()) / 3600), 7 FROM api_keys");
        let [patient, leaving, observer] = [1; 3].map(|pool_size| store(&database, pool_size, "20s"));
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let held = patient.change(async |transaction| {
            transaction.batch_execute("LOCK TABLE api_key_hours").await?;
            let waits = async { while number(&observer, waiting).await == 0 {} };
            tokio::select! {
                reset = leaving.reset_hour(&id) => panic!("{reset:?}"),
                () = waits => Ok(()),
            }
        });
        held.await.unwrap();
        while number(&observer, IN_A_TRANSACTION).await > 1 {}
        assert_eq!(database.sql("SELECT used FROM api_key_hours"), "7");
    }

    #[tokio::test]
    async fn a_gateway_that_is_frozen_amid_a_change_holds_its_locks_no_longer_than_the_timeout() {
        let database = migrated().await;
        let id = add_key(&postgres_store(&database.url()), "k").await;
        let (frozen, other) = (store(&database, 1, "1s"), store(&database, 1, "20s"));
        let held = frozen.change(async |transaction| {
            transaction.execute("SELECT 1 FROM api_keys FOR UPDATE", &[]).await?;
            // This thread does nothing else meanwhile, as if it were stopped.
            database.sql("UPDATE api_keys SET name = 'changed by somebody else'");
            Ok(())
        });
        assert!(held.await.is_err());
        assert_eq!(other.get_key(&id).await.unwrap().unwrap().name, "changed by somebody else");
    }

    #[tokio::test]
    async fn a_change_that_fails_is_taken_back() {
        let database = migrated().await;
        let store = store(&database, 1, "20s");
        add_key(&postgres_store(&database.url()), "k").await;
        let failed: Result<(), _> = store
            .change(async |transaction| {
                transaction.execute("DELETE FROM api_keys", &[]).await?;
                Err(StoreError::Refused("on purpose".to_owned()).into())
            })
            .await;
        assert!(matches!(failed, Err(StoreError::Refused(_))));
        assert!(store.find_key(KeyHash::of(b"k")).await.unwrap().is_some());
    }
}
