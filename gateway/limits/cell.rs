//! A key's place in this gateway: its allowance, shared by all threads that serve its requests.
//!
//! What must stay true here: a key has one cell while anything of its hour is held or owed, and one question under way at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::fleet::Fleet;
use super::lease::{Allowance, Question, Step, Verdict};
use super::lease_file::{LeaseFile, Slot};
use crate::config::OnAuthorityFailure;
use crate::model::ids::KeyId;
use crate::model::lease::{LeaseAnswer, Report};
use crate::model::timestamp::Timestamp;

/// Cells there may be before those that nobody holds any more are looked for.
const CELLS_BEFORE_SWEEP: usize = 1024;

/// Kept with the key's record, so that a request need not look for it.
#[derive(Debug)]
pub struct Cell {
    key_id: KeyId,
    state: Mutex<State>,
    answered: Notify,
}

/// How much of its hour a key has used, over all gateways, when this one last heard of it and admitted since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourUse {
    pub key_id: KeyId,
    /// What others hold on lease counts as used.
    pub used: u64,
    pub limit: u64,
}

#[derive(Debug, Default)]
struct State {
    allowance: Allowance,
    slot: Option<Slot>,
    is_asking: bool,
    is_listed: bool,
}

pub(super) enum Taken {
    Decided(Verdict),
    /// Send this, then wait for the answer.
    Ask(Question),
    /// Somebody has asked: wait for the answer.
    Wait,
}

impl Cell {
    /// One request under the limit its key has now (per hour, above zero). Short, and asks nobody; `None`:
    /// [`Limiter::take`](super::Limiter::take) will.
    pub fn try_take(&self, limit: u64, now: Timestamp) -> Option<Verdict> {
        self.state().take(limit, now)
    }

    /// Of the hour as it is known here.
    pub(super) fn hour_use(&self, now: Timestamp) -> Option<HourUse> {
        let (used, limit) = self.state().allowance.used(now)?;
        Some(HourUse { key_id: self.key_id.clone(), used, limit })
    }

    pub(super) fn new(key_id: KeyId) -> Self {
        Self { key_id, state: Mutex::default(), answered: Notify::new() }
    }

    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    pub(super) fn take_or_ask(&self, limit: u64, now: Timestamp, file: &Arc<LeaseFile>) -> Taken {
        let mut state = self.state();
        if let Some(verdict) = state.take(limit, now) {
            return Taken::Decided(verdict);
        }
        if state.is_asking {
            return Taken::Wait;
        }
        state.is_asking = true;
        state.slot = state.slot.take().or_else(|| file.reserve());
        let is_spooled = state.slot.is_some() && !file.is_failing();
        Taken::Ask(state.allowance.ask(limit, now, is_spooled))
    }

    /// What to send when a question without an answer may have brought a lease.
    pub(super) fn ask_to_take_back(&self, now: Timestamp) -> Option<Question> {
        let mut state = self.state();
        if state.is_asking {
            return None;
        }
        let question = state.allowance.ask_to_take_back(now);
        state.is_asking = question.is_some();
        question
    }

    pub(super) fn take_alone(&self, limit: u64, now: Timestamp, policy: OnAuthorityFailure, fleet: Fleet) -> Verdict {
        let mut state = self.state();
        state.take(limit, now).unwrap_or_else(|| state.allowance.take_alone(limit, now, policy, fleet))
    }

    /// The end of a question, in whatever way. `None`: it has no answer.
    pub(super) fn end_question(&self, question: &Question, answer: Option<&LeaseAnswer>, now: Timestamp) {
        let mut state = self.state();
        state.is_asking = false;
        match answer {
            Some(answer) => state.allowance.answered(question, answer, now),
            None => state.allowance.unanswered(question),
        }
        drop(state);
        self.answered.notify_waiters();
    }

    /// Completes with the next question that ends after this call.
    pub(super) fn answered(&self) -> Notified<'_> {
        self.answered.notified()
    }

    pub(super) fn report(&self, now: Timestamp, idle: Duration) -> Option<Report> {
        self.state().allowance.report(now, idle)
    }

    pub(super) fn confirmed(&self, report: &Report, is_wanted_back: bool) {
        self.state().allowance.confirmed(report, is_wanted_back);
    }

    pub(super) fn unconfirmed(&self, report: &Report) {
        self.state().allowance.unconfirmed(report);
    }

    pub(super) fn reset(&self) {
        self.state().allowance.reset();
    }

    pub(super) fn doubt(&self) {
        self.state().allowance.doubt();
    }

    /// Whether the cell has to be put on the list of those with something to report.
    pub(super) fn enlist(&self) -> bool {
        !std::mem::replace(&mut self.state().is_listed, true)
    }

    /// Whether the cell left that list: it has nothing to report, now or soon.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.state();
        if state.is_asking || !state.allowance.is_settled() {
            return false;
        }
        state.is_listed = false;
        state.slot = None;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the cell")
    }
}

impl State {
    fn take(&mut self, limit: u64, now: Timestamp) -> Option<Verdict> {
        loop {
            match self.allowance.take(limit, now) {
                Step::Decided(verdict) => return Some(verdict),
                Step::Ask => return None,
                Step::Open(portion) => match self.slot.as_ref().and_then(|slot| slot.write(portion)) {
                    Some(()) => self.allowance.opened(portion),
                    None => self.allowance.end_lease(),
                },
            }
        }
    }
}

/// The cells by key. Does not keep them: records do, and the list of those with something to report.
#[derive(Debug)]
pub(super) struct Cells {
    by_key: HashMap<KeyId, Weak<Cell>>,
    sweep_at: usize,
}

impl Cells {
    pub(super) fn new() -> Self {
        Self { by_key: HashMap::new(), sweep_at: CELLS_BEFORE_SWEEP }
    }

    pub(super) fn find(&self, key_id: &KeyId) -> Option<Arc<Cell>> {
        self.by_key.get(key_id).and_then(Weak::upgrade)
    }

    pub(super) fn find_or_make(&mut self, key_id: &KeyId) -> Arc<Cell> {
        if let Some(cell) = self.find(key_id) {
            return cell;
        }
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, cell| cell.strong_count() > 0);
            self.sweep_at = CELLS_BEFORE_SWEEP.max(self.by_key.len() * 2);
        }
        let cell = Arc::new(Cell::new(key_id.clone()));
        self.by_key.insert(key_id.clone(), Arc::downgrade(&cell));
        cell
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Arc<Cell>> {
        self.by_key.values().filter_map(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lease::{Grant, LeaseId};

    const NOW: Timestamp = Timestamp::from_secs(1_795_341_600);

    #[test]
    fn a_key_has_one_cell_while_anybody_holds_it() {
        let mut cells = Cells::new();
        let cell = cells.find_or_make(&"a".into());
        assert!(Arc::ptr_eq(&cell, &cells.find_or_make(&"a".into())));
        assert!(!Arc::ptr_eq(&cell, &cells.find_or_make(&"b".into())));
    }

    #[test]
    fn keys_that_nobody_holds_do_not_fill_the_memory() {
        let mut cells = Cells::new();
        let held = cells.find_or_make(&"held".into());
        for n in 0..10 * CELLS_BEFORE_SWEEP {
            cells.find_or_make(&n.to_string().into());
        }
        assert!(cells.by_key.len() <= CELLS_BEFORE_SWEEP + 1, "{}", cells.by_key.len());
        assert!(Arc::ptr_eq(&held, &cells.find_or_make(&"held".into())));
    }

    fn answer(permits: u64) -> LeaseAnswer {
        let lease = Some(Grant { id: LeaseId::from_number(1), permits });
        LeaseAnswer { now: NOW, used: permits, lease, others_hold: false }
    }

    /// The question that a first request makes its cell ask.
    fn first_question(cell: &Cell, file: &Arc<LeaseFile>) -> Question {
        match cell.take_or_ask(1000, NOW, file) {
            Taken::Ask(question) => question,
            _ => panic!("nothing is known yet"),
        }
    }

    #[test]
    fn with_a_full_disk_a_lease_is_asked_for_under_no_name_and_spent_all_the_same() {
        let file = LeaseFile::new(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let cell = Cell::new("a".into());
        let question = first_question(&cell, &file);
        assert!(!question.request.is_spooled);
        cell.end_question(&question, Some(&answer(10)), NOW);
        assert!((0..10).all(|_| matches!(cell.try_take(1000, NOW), Some(Verdict::Admitted(_)))));
        assert_eq!(cell.try_take(1000, NOW), None);
    }

    #[test]
    fn a_portion_that_cannot_be_written_down_is_not_spent() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = LeaseFile::open(folder.path()).unwrap();
        let cell = Cell::new("a".into());
        let question = first_question(&cell, &file);
        assert!(question.request.is_spooled);
        cell.end_question(&question, Some(&answer(10)), NOW);
        assert!(matches!(cell.try_take(1000, NOW), Some(Verdict::Admitted(_))));
        cell.state().slot = None;
        assert_eq!(cell.try_take(1000, NOW), None);
        let report = cell.report(NOW, Duration::MAX).unwrap().lease.unwrap();
        assert_eq!((report.spent, report.finished), (1, true));
    }

    #[test]
    fn while_one_asks_the_others_wait_and_the_cell_stays_on_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = LeaseFile::open(folder.path()).unwrap();
        let cell = Cell::new("a".into());
        assert!(cell.enlist());
        assert!(!cell.enlist());
        let question = first_question(&cell, &file);
        assert!(matches!(cell.take_or_ask(1000, NOW, &file), Taken::Wait));
        assert!(!cell.retire());
        assert!(cell.ask_to_take_back(NOW).is_none());
        cell.end_question(&question, None, NOW);
        assert!(!cell.retire(), "it may hold a lease");
        let question = cell.ask_to_take_back(NOW).unwrap();
        assert!(matches!(cell.take_or_ask(1000, NOW, &file), Taken::Wait));
        cell.end_question(&question, Some(&LeaseAnswer { lease: None, ..answer(0) }), NOW);
        assert!(cell.retire());
        assert!(cell.enlist());
    }
}
