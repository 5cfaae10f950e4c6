//! From the journal to the store, in batches, each once.
//!
//! What must stay true here: a batch is written together with the place where it ends, and only if the store stands where it
//! begins. A batch whose fate is unknown is sent again as it was, and the store tells whether it had it. Whatever goes wrong, the
//! records wait in the journal.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::backlog::{Backlog, Batch, OLDEST};
use super::networks::{FirstMet, Met};
use crate::clock;
use crate::config;
use crate::drain::Tasks;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::UsageEvent;
use crate::store::{JournalPosition, Store, StoreError};

/// Records written in one transaction. Large enough that its fsync does not count, small enough that who waits for the store
/// behind it (25 ms on SQLite) does not notice.
const BATCH: u64 = 5_000;
/// After the first failure; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(1);

pub struct Flusher {
    backlog: Arc<Backlog>,
    store: Store,
    spool_id: String,
    interval: Duration,
    retention: Duration,
    /// Known once the store has told it.
    place: Option<Place>,
    /// Sent, and perhaps written.
    unsure: Option<Batch>,
    /// Not yet noted in the store.
    last_used: BTreeMap<String, Timestamp>,
    /// When the last of these were.
    touched: Option<Instant>,
    met: Met,
    first_met: Arc<FirstMet>,
}

#[derive(Clone, Copy)]
struct Place {
    /// Where the store stands; `None`: it does not know this journal yet.
    stored: Option<JournalPosition>,
    /// Where to read on.
    next: JournalPosition,
}

/// What is not written waits in the journal.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] io::Error),
}

impl Flusher {
    pub fn new(backlog: Arc<Backlog>, store: Store, spool_id: &str, config: &config::Usage, first_met: Arc<FirstMet>) -> Self {
        Self {
            backlog,
            store,
            spool_id: spool_id.to_owned(),
            interval: config.flush_interval,
            retention: config.retention,
            place: None,
            unsure: None,
            last_used: BTreeMap::new(),
            touched: None,
            met: Met::default(),
            first_met,
        }
    }

    /// Runs until it is told to stop and the journal has nothing more for the store.
    pub async fn run(mut self, tasks: Tasks) {
        let mut failures = 0;
        loop {
            let is_stopping = tasks.is_stopping();
            let result = self.flush(is_stopping).await;
            self.report(&result, failures);
            let pause = match result {
                Ok(()) if is_stopping => return,
                Ok(()) => self.interval,
                Err(_) => FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(LAST_RETRY),
            };
            failures = if result.is_ok() { 0 } else { failures + 1 };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.backlog.much(), if failures == 0 => {}
                () = tasks.stopping(), if !is_stopping => {}
            }
        }
    }

    fn report(&self, result: &Result<(), FlushError>, failures: u32) {
        match result {
            Err(error) if failures == 0 => {
                let waiting = self.backlog.undelivered();
                tracing::warn!(%error, waiting, "usage cannot be written to the store and waits in the journal");
            }
            Ok(()) if failures > 0 => tracing::info!("usage is written to the store again"),
            _ => {}
        }
    }

    /// Writes what there is: to the very last record, or until less than a batch waits. Under load a few more records always
    /// come, and a transaction for each few of them would cost more than the records do.
    pub async fn flush(&mut self, to_the_last: bool) -> Result<(), FlushError> {
        let mut place = match self.place {
            Some(place) => place,
            None => self.find_place(self.store.usage_position(&self.spool_id).await?).await?,
        };
        loop {
            self.place = Some(place);
            let Some(batch) = self.next_batch(place.next).await? else { return self.touch(to_the_last).await };
            place = self.deliver(place, batch).await?;
            if !to_the_last && self.backlog.undelivered() < BATCH {
                self.place = Some(place);
                return self.touch(to_the_last).await;
            }
        }
    }

    async fn find_place(&self, stored: Option<JournalPosition>) -> io::Result<Place> {
        let backlog = self.backlog.clone();
        let next = off_the_runtime(move || backlog.resume(stored.unwrap_or(OLDEST))).await?;
        Ok(Place { stored, next })
    }

    async fn next_batch(&mut self, from: JournalPosition) -> io::Result<Option<Batch>> {
        if self.unsure.is_some() {
            return Ok(self.unsure.take());
        }
        let (backlog, since) = (self.backlog.clone(), clock::now().minus(self.retention));
        off_the_runtime(move || backlog.take(from, BATCH, since)).await
    }

    async fn deliver(&mut self, place: Place, batch: Batch) -> Result<Place, FlushError> {
        let (rows, end) = (Arc::clone(&batch.rows), batch.end);
        self.unsure = Some(batch);
        let stands = self.store.write_usage(&self.spool_id, place.stored, end, Arc::clone(&rows)).await?;
        if stands != end {
            tracing::error!(?stands, expected = ?place.stored, "the store's place in the usage journal was changed by somebody else");
            let place = self.find_place(Some(stands)).await?;
            self.unsure = None;
            return Ok(place);
        }
        for event in rows.iter() {
            self.note_use(&event);
        }
        drop(rows);
        let (backlog, batch) = (self.backlog.clone(), self.unsure.take().expect("it was put there above"));
        off_the_runtime(move || backlog.delivered(batch)).await;
        Ok(Place { stored: Some(end), next: end })
    }

    fn note_use(&mut self, event: &UsageEvent<'_>) {
        match self.last_used.get_mut(event.key_id) {
            Some(last) => *last = event.timestamp.max(*last),
            None => drop(self.last_used.insert(event.key_id.to_owned(), event.timestamp)),
        }
        if let Some(address) = event.client_ip {
            self.met.meet(event.key_id, address, &self.first_met);
        }
    }

    /// Notes when keys were last used: at the end, or once an interval, for under load the next batch has the same keys in it. In a
    /// transaction of its own, for it may have to wait for a change of a key.
    async fn touch(&mut self, at_once: bool) -> Result<(), FlushError> {
        let now = clock::monotonic();
        let is_due = at_once || self.touched.is_none_or(|touched| now.duration_since(touched) >= self.interval);
        if is_due && !self.last_used.is_empty() {
            let used = self.last_used.iter().map(|(key_id, last)| (key_id.as_str().into(), *last)).collect();
            self.store.touch_last_used(used).await?;
            self.last_used.clear();
            self.touched = Some(now);
        }
        Ok(())
    }
}

/// Disk work, so that a slow disk holds up nothing else. Waited for at once, it needs no other owner.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("work on the journal does not panic")
}
