//! Hears of changes as they are committed: the triggers of `sql/postgres/` notify, one connection of its own listens.
//!
//! What must stay true here:
//! - The order of commits is the order of notifications, but not the order of any number. So after a lost connection there is no
//!   catching up: it listens first, and then anything may have changed.
//! - `contact` is when the last heartbeat that was answered was *sent*: what was committed before it was notified before its
//!   answer.
//! - Nothing here waits for the pool: a revocation is heard also while every other connection is busy.
//! - A connection that hears nothing is found out: behind a PgBouncer in transaction mode LISTEN succeeds and nothing ever comes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::errors::Failure;
use super::pool::PostgresStore;
use crate::clock;
use crate::model::ids::KeyId;
use crate::store::{Change, News, StoreError};

/// A connection that died in silence is noticed after this and `store.timeout`.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// How often a gateway says that it lives.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// Between two attempts to connect.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Changes told at once; the rest follows.
const MOST_AT_ONCE: usize = 10_000;

pub struct PostgresFeed {
    store: PostgresStore,
    gateway_id: String,
    listener: Option<Listener>,
    failed_before: bool,
    reported: Option<Instant>,
    /// Questions that were told and are to be confirmed.
    questions: Vec<i64>,
}

impl PostgresFeed {
    pub fn new(store: PostgresStore, gateway_id: &str) -> Self {
        let gateway_id = gateway_id.to_owned();
        Self { store, gateway_id, listener: None, failed_before: false, reported: None, questions: Vec::new() }
    }

    pub async fn next(&mut self) -> Result<News, StoreError> {
        let news = match &mut self.listener {
            Some(listener) => listener.next().await,
            None => self.listen().await,
        };
        match news {
            Ok((contact, notices)) => Ok(News { contact, changes: self.understand(&notices) }),
            Err(error) => {
                self.listener = None;
                self.failed_before = true;
                Err(error)
            }
        }
    }

    pub async fn applied(&mut self) -> Result<(), StoreError> {
        let Some(listener) = &mut self.listener else { return Ok(()) };
        while let Some(&question) = self.questions.last() {
            listener.confirm(question, &self.gateway_id).await?;
            self.questions.pop();
        }
        let now = clock::monotonic();
        if self.reported.is_none_or(|before| now.duration_since(before) >= REPORT_EVERY) {
            self.reported = Some(now);
            listener.report(&self.gateway_id).await?;
        }
        Ok(())
    }

    /// Listens, and only then takes anything for changed. A question asked before it listened is found in its table.
    async fn listen(&mut self) -> Result<Heard, StoreError> {
        if mem::take(&mut self.failed_before) {
            tokio::time::sleep(RETRY_AFTER).await;
        }
        let mut listener = Listener::connect(&self.store).await?;
        let contact = listener.contact;
        let mut notices = vec!["all".to_owned()];
        notices.extend(listener.open_questions().await?);
        self.listener = Some(listener);
        Ok((contact, notices))
    }

    fn understand(&mut self, notices: &[String]) -> Vec<Change> {
        notices.iter().filter_map(|notice| self.change(notice)).collect()
    }

    /// `None` for what concerns nobody: a newer version may speak of other things.
    fn change(&mut self, notice: &str) -> Option<Change> {
        let (kind, rest) = notice.split_once(' ').unwrap_or((notice, ""));
        match kind {
            "all" => Some(Change::Anything),
            "key" => Change::of_hash(rest),
            "limit" => Some(Change::Limit(rest.into())),
            "sync" => {
                let (question, key_id) = rest.split_once(' ')?;
                self.questions.push(question.parse().ok()?);
                Some(Change::Key(KeyId::from(key_id)))
            }
            _ => None,
        }
    }
}

impl std::fmt::Debug for PostgresFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresFeed({:?})", self.store)
    }
}

/// The contact, and what was notified, in order.
type Heard = (Instant, Vec<String>);

struct Listener {
    client: Client,
    wire: Wire,
    store: PostgresStore,
    contact: Instant,
    is_tried: bool,
}

impl Listener {
    async fn connect(store: &PostgresStore) -> Result<Self, StoreError> {
        let contact = clock::monotonic();
        let connecting = store.listen_servers.connect();
        let connected = tokio::time::timeout(store.timeout, connecting).await.map_err(|_| StoreError::Timeout(store.timeout))?;
        let in_words = |error| Failure::Postgres(error).in_words(&store.listen_url, store.timeout);
        let (client, connection) = connected.map_err(in_words)?;
        let wire = Wire { connection, notices: VecDeque::new() };
        let mut listener = Self { client, wire, store: store.clone(), contact, is_tried: false };
        listener.ask(async |client| client.batch_execute("LISTEN hokusai_gateway").await).await?;
        Ok(listener)
    }

    /// Returns when something was notified, or after a heartbeat.
    async fn next(&mut self) -> Result<Heard, StoreError> {
        if !mem::replace(&mut self.is_tried, true) {
            self.try_to_hear().await?;
        }
        let beat_at = self.contact + BEAT_EVERY;
        if self.wire.notices.is_empty() {
            // Without news the time for a heartbeat has come.
            if let Ok(received) = tokio::time::timeout_at(beat_at.into(), self.wire.receive()).await {
                received.map_err(|failure| self.in_words(failure))?;
            }
        }
        if clock::monotonic() >= beat_at {
            let sent = clock::monotonic();
            self.ask(async |client| client.check_connection().await).await?;
            self.contact = sent;
        }
        let count = self.wire.notices.len().min(MOST_AT_ONCE);
        Ok((self.contact, self.wire.notices.drain(..count).collect()))
    }

    /// Whether what is committed at `store.url` is heard here. Whatever comes proves it, so that no news waits for the proof.
    async fn try_to_hear(&mut self) -> Result<(), StoreError> {
        let store = &self.store;
        // Nothing came although it was told; else it could not be told, which says nothing.
        let silence = async {
            let sql = "SELECT pg_notify('hokusai_gateway', 'echo')";
            let told = store.change(async |transaction| Ok(transaction.execute(sql, &[]).await?)).await;
            if told.is_ok() {
                tokio::time::sleep(store.timeout).await;
            }
            told.is_ok()
        };
        tokio::select! {
            received = self.wire.receive() => received.map_err(|failure| self.in_words(failure)),
            was_told = silence => if was_told { Err(self.deaf()) } else { Ok(()) },
        }
    }

    fn deaf(&self) -> StoreError {
        StoreError::Unavailable(format!(
            "what is changed at {} is not heard at {}: a PgBouncer in transaction mode passes nothing on, nor does another \
             database; name a direct way to the same database in store.listen_url, or let PgBouncer pool sessions",
            self.store.url.address(),
            self.store.listen_url.address()
        ))
    }

    async fn open_questions(&mut self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT 'sync ' || token || ' ' || key_id FROM api_gateway_syncs";
        let rows = self.ask(async |client| client.query(sql, &[]).await).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn confirm(&mut self, question: i64, gateway_id: &str) -> Result<(), StoreError> {
        let sql = "UPDATE api_gateway_syncs SET confirmed_by = confirmed_by || $2::text \
                   WHERE token = $1 AND $2 <> ALL (confirmed_by)";
        self.ask(async |client| client.execute(sql, &[&question, &gateway_id]).await).await?;
        Ok(())
    }

    /// Gateways unheard of for a day are forgotten.
    async fn report(&mut self, gateway_id: &str) -> Result<(), StoreError> {
        let report = "INSERT INTO api_gateways (gateway_id, seen_at) VALUES ($1, clock_timestamp()) \
                      ON CONFLICT (gateway_id) DO UPDATE SET seen_at = excluded.seen_at";
        let forget = "DELETE FROM api_gateways WHERE seen_at < clock_timestamp() - interval '1 day'";
        self.ask(async |client| client.execute(report, &[&gateway_id]).await).await?;
        self.ask(async |client| client.execute(forget, &[]).await).await?;
        Ok(())
    }

    /// What is notified meanwhile is kept.
    async fn ask<T>(&mut self, question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> Result<T, StoreError> {
        let timeout = self.store.timeout;
        let Self { client, wire, .. } = self;
        let exchange = async {
            let mut question = pin!(question(client));
            loop {
                tokio::select! {
                    biased;
                    received = wire.receive() => received?,
                    answer = &mut question => return Ok(answer?),
                }
            }
        };
        let answer = tokio::time::timeout(timeout, exchange).await.map_err(|_| StoreError::Timeout(timeout))?;
        answer.map_err(|failure| self.in_words(failure))
    }

    fn in_words(&self, failure: Failure) -> StoreError {
        failure.in_words(&self.store.listen_url, self.store.timeout)
    }
}

struct Wire {
    connection: Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>,
    notices: VecDeque<String>,
}

impl Wire {
    /// Moves the connection on until something is notified, and takes with it what follows at once. May be dropped at any time.
    async fn receive(&mut self) -> Result<(), Failure> {
        poll_fn(|context| {
            let known = self.notices.len();
            while self.notices.len() < MOST_AT_ONCE {
                match self.connection.poll_message(context) {
                    Poll::Ready(Some(Ok(AsyncMessage::Notification(notice)))) => {
                        self.notices.push_back(notice.payload().to_owned());
                    }
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                    Poll::Ready(None) => return Poll::Ready(Err(Failure::Closed)),
                    Poll::Pending if self.notices.len() == known => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
