//! Who used what: every admitted request becomes one row in the store, however the gateway or the store ends.
//!
//! The way of a record: a worker's [`Recorder`] → the writer's thread, every few milliseconds → the journal in the spool folder →
//! the flusher, in batches → `api_key_usage`. There is no other; the store being away only makes it longer.
//!
//! What must stay true here: `recorded` = `written` + `spooled` + `dropped`, but for what is on its way from one to the next.

mod backlog;
mod deliver;
mod flush;
mod journal;
mod losses;
mod networks;
pub mod record;
mod recorder;
pub mod segment;
mod sync;
mod upkeep;
mod writer;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::backlog::Backlog;
pub use self::deliver::{Delivered, deliver};
pub use self::flush::FlushError;
use self::flush::Flusher;
use self::journal::Journal;
pub use self::networks::FirstMet;
pub use self::recorder::Recorder;
use self::writer::Writer;
use crate::drain::Tasks;
use crate::observe::metrics::Metrics;
use crate::spool::{Spool, SpoolError};
use crate::store::Store;
use crate::{clock, config};

/// For a task that was abandoned to notice.
const ABANDONING: Duration = Duration::from_secs(1);

/// The journal and what moves it. Dropped without [`close`](Self::close), it still writes what was recorded to the journal.
#[derive(Debug)]
pub struct Usage {
    config: config::Usage,
    spool: Arc<Spool>,
    backlog: Arc<Backlog>,
    writer: Writer,
    /// Where keys were used from.
    first_met: Arc<FirstMet>,
    tasks: Tasks,
    /// Ends the tasks wherever they are.
    abandoned: CancellationToken,
    on_drop: DropGuard,
}

impl Usage {
    /// Opens the journal in the spool, counting what is left from before. From here on it can be recorded to.
    ///
    /// # Errors
    /// When the spool folder cannot be read or written to. A full disk is none.
    pub fn open(config: &config::Usage, spool: Arc<Spool>, metrics: &Arc<Metrics>) -> Result<Self, SpoolError> {
        let failed = |error: io::Error| SpoolError::Io { path: spool.folder().to_owned(), error };
        let backlog = Arc::new(Backlog::open(spool.folder(), metrics).map_err(failed)?);
        let journal = Journal::open(spool.folder(), config.spool_max, backlog.clone()).map_err(failed)?;
        let writer = Writer::start(journal, backlog.clone(), metrics.clone()).map_err(failed)?;
        let abandoned = CancellationToken::new();
        let on_drop = abandoned.clone().drop_guard();
        let (first_met, tasks) = (Arc::default(), Tasks::new());
        Ok(Self { config: config.clone(), spool, backlog, writer, first_met, tasks, abandoned, on_drop })
    }

    /// For one worker, to be asked for once by each.
    pub fn recorder(&self) -> Recorder {
        self.writer.recorder()
    }

    /// Networks that keys are used from, as this gateway meets them.
    pub fn first_met(&self) -> Arc<FirstMet> {
        Arc::clone(&self.first_met)
    }

    /// Starts to bring the journal to the store, and to delete there what is past its retention.
    pub fn start(&self, store: &Store, runtime: &Handle) {
        let first_met = Arc::clone(&self.first_met);
        let flusher = Flusher::new(self.backlog.clone(), store.clone(), self.spool.id(), &self.config, first_met);
        self.run(runtime, flusher.run(self.tasks.clone()));
        self.run(runtime, upkeep::run(store.clone(), self.config.retention, self.tasks.clone()));
    }

    /// Writes what was recorded to the journal, and the journal to the store, within `limit`. The workers have ended before.
    /// What the store does not take in time stays in the journal, synced to the disk, for the next start.
    pub async fn close(self, limit: Duration) {
        let deadline = clock::monotonic() + limit;
        let writer = self.writer;
        if timeout(limit, spawn_blocking(move || drop(writer))).await.is_err() {
            tracing::error!("the disk does not take the usage journal; what was recorded last may be lost");
        }
        self.tasks.stop();
        self.tasks.wait(deadline.saturating_duration_since(clock::monotonic())).await;
        drop(self.on_drop);
        self.tasks.wait(ABANDONING).await;
        let records = self.backlog.undelivered();
        if records > 0 {
            tracing::warn!(records, "the store did not take all usage in time; it waits in the journal for the next start");
        }
    }

    fn run(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let abandoned = self.abandoned.clone();
        self.tasks.spawn_on(runtime, async move {
            abandoned.run_until_cancelled(task).await;
        });
    }
}
