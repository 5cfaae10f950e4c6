//! The connections. Each lives on its own thread, is fed questions through a channel and answers through another, so that a
//! question can be awaited on any runtime and never blocks it.
//!
//! What must stay true here:
//! - A question is answered within `timeout`. One whose asker has left is not begun; one that was begun runs to its end, so
//!   after [`StoreError::Timeout`] a change may have been made all the same.
//! - What [`durable`](SqliteStore::durable) answered is on the disk. What [`write`](SqliteStore::write) answered outlives the
//!   process, but the last of it may be lost with the power.
//! - A database that cannot be opened is tried again at each question, and a connection that failed is not used again.
//! - Nothing here makes a database: a mistyped path is an error, not an empty store.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;

use super::errors;
use crate::clock;
use crate::model::audit_event::Actor;
use crate::store::StoreError;

/// Questions that may wait for one kind of connection: more than can be answered in time, and a bound on memory while the disk
/// hangs.
const MAX_WAITING: usize = 16_384;
/// The limit of questions over whole tables, migrations and reports: whoever asks them would rather wait.
const PATIENCE: Duration = Duration::from_mins(10);
/// Between two looks at a lock that SQLite does not wait for by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// In bytes. Usage goes to the disk by whole pages: of this size they are half as many as of SQLite's own, 4,096, and better filled.
/// Larger ones would make each small change of a key or a lease dearer.
const PAGE_SIZE: u32 = 8_192;
/// Statements kept prepared by each connection: all there are, with room.
const PREPARED_STATEMENTS: usize = 64;

/// One SQLite database. Clones share its connections, which close when the last clone is gone.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    file: Arc<Path>,
    timeout: Duration,
    readers: Sender<Question>,
    writer: Sender<Question>,
    durable_writer: Sender<Question>,
    /// Who makes the changes, where it is known.
    pub(super) actor: Option<Arc<Actor>>,
}

type Question = Box<dyn FnOnce(&mut Link) + Send>;

impl SqliteStore {
    /// Touches no file yet. `pool_size` questions are read at once; each question has `timeout` for its answer.
    pub fn new(file: impl Into<PathBuf>, pool_size: NonZeroUsize, timeout: Duration) -> Self {
        let file: Arc<Path> = file.into().into();
        let link = |access| Link { file: Arc::clone(&file), access, busy_timeout: timeout * 3 / 4, connection: None };
        Self {
            readers: start("store-read", (0..pool_size.get()).map(|_| link(Access::Read))),
            writer: start("store-write", [link(Access::Write)]),
            durable_writer: start("store-durable", [link(Access::WriteDurably)]),
            file,
            timeout,
            actor: None,
        }
    }

    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Self {
        Self { actor: Some(Arc::new(actor)), ..self.clone() }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(&self.readers, self.timeout, job).await
    }

    /// For changes that may be lost with the power. `transaction()` takes the write lock at once.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(&self.writer, self.timeout, job).await
    }

    /// For changes that may not be lost: each commit waits for the disk. `transaction()` takes the write lock at once.
    pub(super) async fn durable<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(&self.durable_writer, self.timeout, job).await
    }

    /// As [`read`](Self::read), for a question that goes over whole tables.
    pub(super) async fn report<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(&self.readers, PATIENCE, job).await
    }

    /// As [`durable`](Self::durable), for a change of whole tables.
    pub(super) async fn overhaul<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(&self.durable_writer, PATIENCE, job).await
    }
}

/// Puts the question in line and waits for its answer.
async fn ask<T: Send + 'static>(
    line: &Sender<Question>,
    limit: Duration,
    job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let (answer, answered) = oneshot::channel();
    let question = Box::new(move |link: &mut Link| {
        if !answer.is_closed() {
            // The asker may leave while the job runs.
            let _ = answer.send(link.run(job));
        }
    });
    line.try_send(question)
        .map_err(|_| StoreError::Unavailable(format!("{MAX_WAITING} questions wait for the store already")))?;
    match tokio::time::timeout(limit, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(StoreError::Unavailable("the question to the store failed; the log says how".to_owned())),
        Err(_) => Err(StoreError::Timeout(limit)),
    }
}

/// One thread for each link, all serving one line. They end when the line's last sender is gone.
fn start(name: &str, links: impl IntoIterator<Item = Link>) -> Sender<Question> {
    let (line, questions) = crossbeam_channel::bounded(MAX_WAITING);
    for link in links {
        let questions = questions.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(link, &questions))
            .expect("the system has a thread for each connection");
    }
    line
}

fn serve(mut link: Link, questions: &Receiver<Question>) {
    for question in questions {
        // A question that panics must not take the thread with it. What it left open is rolled back with the connection.
        if catch_unwind(AssertUnwindSafe(|| question(&mut link))).is_err() {
            link.connection = None;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    WriteDurably,
}

/// A connection that is opened when it is first needed, and again after a failure.
struct Link {
    file: Arc<Path>,
    access: Access,
    /// How long a lock of somebody else is waited for.
    busy_timeout: Duration,
    connection: Option<Connection>,
}

impl Link {
    fn run<T>(&mut self, job: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let outcome = self.connection().and_then(job);
        outcome.map_err(|error| {
            if !errors::leaves_the_connection_sound(&error) {
                self.connection = None;
            }
            errors::in_words(&error, &self.file)
        })
    }

    fn connection(&mut self) -> rusqlite::Result<&mut Connection> {
        if self.connection.is_none() {
            self.connection = Some(open(&self.file, self.access, self.busy_timeout)?);
        }
        Ok(self.connection.as_mut().expect("it was opened just now"))
    }
}

fn open(file: &Path, access: Access, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    if access == Access::Read {
        connection.pragma_update(None, "query_only", true)?;
        return Ok(connection);
    }
    // Of a database that is made now; one that is there keeps its own.
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    // Readers and the writer do not wait for each other.
    enter_wal(&connection, busy_timeout)?;
    connection.pragma_update(None, "synchronous", if access == Access::WriteDurably { "full" } else { "normal" })?;
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    Ok(connection)
}

/// SQLite does not wait for a lock when it changes the journal's mode, so two that make a database at once wait here.
fn enter_wal(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let until = clock::monotonic() + patience;
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && clock::monotonic() < until => {
                std::thread::sleep(BUSY_PAUSE);
            }
            entered => return entered,
        }
    }
}

#[cfg(test)]
mod tests;
