//! Hourly limits. A request takes a permit from its key's [`Cell`], which holds a lease of several; when that is spent, the
//! authority over the hour's count (Redis or the store) is asked for the next.
//!
//! What must stay true here:
//! - No request waits longer than `PATIENCE`, however many questions that are: an authority that is slower, or fails, is away. Then
//!   requests ask no more: they are decided here (`limits.on_redis_failure`) until a round in the background has found it well.
//! - A question, once sent, is waited for to its end, whoever has left meanwhile: its answer may hold a lease.
//! - What an earlier run of the gateway left in the spool is settled before the first question.

mod authority;
mod cell;
mod cells;
mod fleet;
#[cfg(test)]
mod late_questions;
mod lease;
mod lease_file;
mod left_over;
#[cfg(test)]
mod many_gateways;
pub mod pace;
mod redis;
mod rounds;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout_at;

pub use self::authority::{Authority, AuthorityError};
use self::cell::Taken;
pub use self::cell::{Cell, HourUse, SharedCell};
use self::cells::Cells;
use self::fleet::Fleet;
use self::lease::Question;
pub use self::lease::Verdict;
use self::lease_file::{LeaseFile, LeftOver};
pub use self::left_over::{SettleError, settle_spool};
use crate::clock;
use crate::config::OnAuthorityFailure;
use crate::drain::Tasks;
use crate::model::ids::KeyId;
use crate::model::lease::LeaseAnswer;
use crate::store::StoreError;

/// With what a key in doubt waits before, less than a known key may wait: 250 ms.
const PATIENCE: Duration = Duration::from_millis(150);
/// So many answers within `PATIENCE` show that the authority is well, and that others were faster to take the last permits: who
/// has heard that many waits on.
const ANSWERS_OF_ONE_THAT_IS_WELL: u32 = 4;

/// Leases, of a cell each, told of in one transaction: requests that need a lease wait behind it for milliseconds.
const LEASES_AT_ONCE: usize = 256;

/// The limits of all keys in this gateway. Shared by the workers and the background.
#[derive(Debug)]
pub struct Limiter {
    authority: Authority,
    spool_id: String,
    file: Arc<LeaseFile>,
    policy: Mutex<OnAuthorityFailure>,
    tasks: Tasks,
    background: Handle,
    cells: Mutex<Cells>,
    /// Those that hold or owe something.
    active: Mutex<Vec<SharedCell>>,
    is_away: AtomicBool,
    /// As last heard.
    fleet: Mutex<Fleet>,
    /// Until it is settled. Locked for a whole round, so that there is one at a time.
    left_over: tokio::sync::Mutex<Option<LeftOver>>,
}

impl Limiter {
    /// Settles what an earlier run left, as far as the store answers, and starts the rounds on `background`, until `tasks` stop.
    /// `folder` is the spool's, and `spool_id` its name; nobody else may use either. Fails if the file `leases` there cannot
    /// be opened.
    pub async fn start(
        folder: &Path,
        spool_id: &str,
        authority: Authority,
        policy: OnAuthorityFailure,
        tasks: Tasks,
        background: Handle,
    ) -> io::Result<Arc<Self>> {
        let (file, left_over) = LeaseFile::open(folder)?;
        let limiter = Arc::new(Self {
            authority,
            spool_id: spool_id.to_owned(),
            file,
            policy: Mutex::new(policy),
            tasks,
            background,
            cells: Mutex::new(Cells::new()),
            active: Mutex::default(),
            is_away: AtomicBool::new(false),
            fleet: Mutex::new(Fleet::ALONE),
            left_over: tokio::sync::Mutex::new(Some(left_over)),
        });
        limiter.start_rounds().await;
        Ok(limiter)
    }

    /// From now on this is done while the authority is away.
    pub fn renew(&self, policy: OnAuthorityFailure) {
        *self.policy() = policy;
    }

    /// The cell of a key, to be kept with its record. The same one for as long as anybody keeps it.
    pub fn cell(&self, key_id: &KeyId) -> SharedCell {
        self.cells().find_or_make(key_id)
    }

    /// One request, when [`Cell::try_take`] could not decide it. `limit` is per hour, above zero.
    pub async fn take(self: &Arc<Self>, cell: &SharedCell, limit: u64) -> Verdict {
        let mut answers = 0;
        let mut patient_until = clock::monotonic() + PATIENCE;
        loop {
            let now = clock::now();
            if self.is_away.load(Ordering::Relaxed) {
                let verdict = cell.take_alone(limit, now, *self.policy(), *self.fleet());
                // Not before: a round that finds nothing owed takes the cell off the list.
                self.enlist(cell);
                return verdict;
            }
            let answered = match cell.take_or_ask(limit, now, &self.file) {
                Taken::Decided(verdict) => return verdict,
                Taken::Ask(question, answered) => {
                    self.ask(cell, question);
                    answered
                }
                Taken::Wait(answered) => answered,
            };
            match timeout_at(patient_until.into(), answered).await {
                Ok(()) => answers += 1,
                Err(_) => self.lost(&StoreError::Timeout(PATIENCE).into()),
            }
            if answers == ANSWERS_OF_ONE_THAT_IS_WELL {
                (answers, patient_until) = (0, clock::monotonic() + PATIENCE);
            }
        }
    }

    /// Who is asked for the hours' counts.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Of every key that this gateway knows the hour of.
    pub fn hours(&self) -> impl Iterator<Item = HourUse> {
        let (cells, now) = (self.cells().all().collect::<Vec<_>>(), clock::now());
        cells.into_iter().filter_map(move |cell| cell.hour_use(now))
    }

    /// The key's hour was reset.
    pub fn reset(&self, key_id: &KeyId) {
        self.authority.forget(key_id);
        if let Some(cell) = self.cells().find(key_id) {
            cell.reset();
        }
    }

    /// Any hour may have been reset: what changed in the store could not be followed.
    pub fn doubt_all(&self) {
        self.cells().all().for_each(|cell| cell.doubt());
    }

    /// Gives back what is held, once no request comes any more. What cannot be given back now is at the next start.
    pub async fn close(self: &Arc<Self>) {
        self.round(Duration::ZERO).await;
    }

    fn ask(self: &Arc<Self>, cell: &SharedCell, question: Question) {
        self.enlist(cell);
        self.tasks.spawn_on(&self.background, self.under_way(cell, question).exchange());
    }

    fn under_way(self: &Arc<Self>, cell: &SharedCell, question: Question) -> UnderWay {
        UnderWay { limiter: Arc::clone(self), cell: cell.clone(), question, answer: None }
    }

    fn enlist(&self, cell: &SharedCell) {
        if cell.enlist() {
            self.active().push(cell.clone());
        }
    }

    fn lost(&self, error: &AuthorityError) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(policy = ?*self.policy(), "nobody can be asked for hourly limits: {error}");
        }
    }

    fn found(&self) {
        if self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!("hourly limits are asked for again");
        }
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().expect("nothing panics while it holds the cells")
    }

    fn policy(&self) -> MutexGuard<'_, OnAuthorityFailure> {
        self.policy.lock().expect("nothing panics while it holds the policy")
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().expect("nothing panics while it holds the fleet")
    }

    fn active(&self) -> MutexGuard<'_, Vec<SharedCell>> {
        self.active.lock().expect("nothing panics while it holds the list")
    }
}

/// A question under way. However it ends, its cell and those who wait there hear of it.
struct UnderWay {
    limiter: Arc<Limiter>,
    cell: SharedCell,
    question: Question,
    answer: Option<LeaseAnswer>,
}

impl UnderWay {
    async fn exchange(mut self) {
        let limiter = Arc::clone(&self.limiter);
        let answer = limiter.authority.lease(self.cell.key_id(), &limiter.spool_id, self.question.request).await;
        self.answer = answer.inspect_err(|error| limiter.lost(error)).ok();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.answer.is_none() {
            // Also when the background is gone, so that nobody waits for it.
            self.limiter.is_away.store(true, Ordering::Relaxed);
        }
        self.cell.end_question(&self.question, self.answer.as_ref(), clock::now());
    }
}
