//! A key's place in this gateway: its allowance, shared by all threads that serve its requests.
//!
//! What must stay true here: one question of a key is under way at most. Most cells are at rest: those take no more memory than what
//! is known of the hour.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::fleet::Fleet;
use super::lease::{Allowance, Question, Settled, Step, Verdict};
use super::lease_file::{LeaseFile, Slot};
use crate::config::OnAuthorityFailure;
use crate::model::ids::KeyId;
use crate::model::lease::{LeaseAnswer, Report};
use crate::model::timestamp::Timestamp;

/// Nobody counts weak references to it, which would take 8 bytes of each.
pub type SharedCell = triomphe::Arc<Cell>;

/// Kept with the key's record, so that a request need not look for it.
#[derive(Debug)]
pub struct Cell {
    key_id: KeyId,
    state: Mutex<State>,
}

/// How much of its hour a key has used, over all gateways, when this one last heard of it and admitted since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourUse {
    pub key_id: KeyId,
    /// What others hold on lease counts as used.
    pub used: u64,
    pub limit: u64,
}

#[derive(Debug)]
enum State {
    /// Nothing is held or owed.
    Settled(Settled),
    Active(Box<Active>),
}

#[derive(Debug, Default)]
struct Active {
    allowance: Allowance,
    slot: Option<Slot>,
    /// Of the question under way.
    answered: Option<Arc<Notify>>,
    is_listed: bool,
}

pub(super) enum Taken {
    Decided(Verdict),
    /// Send this, then wait for the answer.
    Ask(Question, OwnedNotified),
    /// Somebody has asked: wait for the answer.
    Wait(OwnedNotified),
}

impl Cell {
    /// One request under the limit its key has now (per hour, above zero). Short, and asks nobody; `None`:
    /// [`Limiter::take`](super::Limiter::take) will.
    pub fn try_take(&self, limit: u64, now: Timestamp) -> Option<Verdict> {
        self.state().take(limit, now)
    }

    /// Of the hour as it is known here.
    pub(super) fn hour_use(&self, now: Timestamp) -> Option<HourUse> {
        let (used, limit) = match &*self.state() {
            State::Settled(settled) => settled.used(now),
            State::Active(active) => active.allowance.used(now),
        }?;
        Some(HourUse { key_id: self.key_id.clone(), used, limit })
    }

    pub(super) fn new(key_id: KeyId) -> Self {
        Self { key_id, state: Mutex::new(State::Settled(Settled::default())) }
    }

    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    pub(super) fn take_or_ask(&self, limit: u64, now: Timestamp, file: &Arc<LeaseFile>) -> Taken {
        let mut state = self.state();
        if let Some(verdict) = state.take(limit, now) {
            return Taken::Decided(verdict);
        }
        let active = state.active();
        if let Some(answered) = &active.answered {
            return Taken::Wait(Arc::clone(answered).notified_owned());
        }
        active.slot = active.slot.take().or_else(|| file.reserve());
        let is_spooled = active.slot.is_some() && !file.is_failing();
        let question = active.allowance.ask(limit, now, is_spooled);
        Taken::Ask(question, Arc::clone(active.answered.insert(Arc::default())).notified_owned())
    }

    /// What to send when a question without an answer may have brought a lease.
    pub(super) fn ask_to_take_back(&self, now: Timestamp) -> Option<Question> {
        match &mut *self.state() {
            State::Active(active) if active.answered.is_none() => {
                let question = active.allowance.ask_to_take_back(now)?;
                active.answered = Some(Arc::default());
                Some(question)
            }
            _ => None,
        }
    }

    pub(super) fn take_alone(&self, limit: u64, now: Timestamp, policy: OnAuthorityFailure, fleet: Fleet) -> Verdict {
        let mut state = self.state();
        state.take(limit, now).unwrap_or_else(|| state.active().allowance.take_alone(limit, now, policy, fleet))
    }

    /// The end of a question, in whatever way. `None`: it has no answer.
    pub(super) fn end_question(&self, question: &Question, answer: Option<&LeaseAnswer>, now: Timestamp) {
        let mut state = self.state();
        let active = state.active();
        match answer {
            Some(answer) => active.allowance.answered(question, answer, now),
            None => active.allowance.unanswered(question),
        }
        let answered = active.answered.take();
        drop(state);
        if let Some(answered) = answered {
            answered.notify_waiters();
        }
    }

    pub(super) fn report(&self, now: Timestamp, idle: Duration) -> Option<Report> {
        match &mut *self.state() {
            State::Settled(_) => None,
            State::Active(active) => active.allowance.report(now, idle),
        }
    }

    pub(super) fn confirmed(&self, report: &Report, is_wanted_back: bool) {
        self.state().active().allowance.confirmed(report, is_wanted_back);
    }

    pub(super) fn unconfirmed(&self, report: &Report) {
        self.state().active().allowance.unconfirmed(report);
    }

    pub(super) fn reset(&self) {
        match &mut *self.state() {
            State::Settled(settled) => settled.reset(),
            State::Active(active) => active.allowance.reset(),
        }
    }

    pub(super) fn doubt(&self) {
        match &mut *self.state() {
            State::Settled(settled) => settled.doubt(),
            State::Active(active) => active.allowance.doubt(),
        }
    }

    /// Whether the cell has to be put on the list of those with something to report.
    pub(super) fn enlist(&self) -> bool {
        !std::mem::replace(&mut self.state().active().is_listed, true)
    }

    /// Whether the cell left that list: it has nothing to report, now or soon.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.state();
        if let State::Active(active) = &mut *state {
            let settled = if active.answered.is_none() { active.allowance.settle() } else { None };
            let Some(settled) = settled else { return false };
            *state = State::Settled(settled);
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the cell")
    }
}

impl State {
    fn take(&mut self, limit: u64, now: Timestamp) -> Option<Verdict> {
        match self {
            Self::Settled(settled) => settled.take(limit, now),
            Self::Active(active) => active.take(limit, now),
        }
    }

    /// Whoever makes it so sees to it that the cell is on the list, so that it comes to rest again.
    fn active(&mut self) -> &mut Active {
        if let Self::Settled(settled) = self {
            let allowance = std::mem::take(settled).into();
            *self = Self::Active(Box::new(Active { allowance, ..Active::default() }));
        }
        match self {
            Self::Active(active) => active,
            Self::Settled(_) => unreachable!("it was made active just now"),
        }
    }
}

impl Active {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lease::{Grant, LeaseId};

    const NOW: Timestamp = Timestamp::from_secs(1_795_341_600);

    fn answer(permits: u64) -> LeaseAnswer {
        let lease = Some(Grant { id: LeaseId::from_number(1), permits });
        LeaseAnswer { now: NOW, used: permits, lease, others_hold: false }
    }

    /// The question that a first request makes its cell ask.
    fn first_question(cell: &Cell, file: &Arc<LeaseFile>) -> Question {
        match cell.take_or_ask(1000, NOW, file) {
            Taken::Ask(question, _) => question,
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
        cell.state().active().slot = None;
        assert_eq!(cell.try_take(1000, NOW), None);
        let report = cell.report(NOW, Duration::MAX).unwrap().lease.unwrap();
        assert_eq!((report.spent, report.finished), (1, true));
    }

    #[test]
    fn a_cell_at_rest_is_small_and_still_knows_its_hour() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = LeaseFile::open(folder.path()).unwrap();
        let cell = Cell::new("a".into());
        let question = first_question(&cell, &file);
        cell.end_question(&question, Some(&LeaseAnswer { lease: None, ..answer(1000) }), NOW);
        let refused = cell.try_take(1000, NOW);
        assert!(matches!(refused, Some(Verdict::Spent { .. })));
        assert!(cell.retire());
        assert!(matches!(*cell.state(), State::Settled(_)) && size_of::<Cell>() <= 64);
        assert_eq!((cell.try_take(1000, NOW), cell.try_take(999, NOW)), (refused, None));
        cell.doubt();
        let hour_use = HourUse { key_id: "a".into(), used: 1000, limit: 1000 };
        assert_eq!((cell.try_take(1000, NOW), cell.hour_use(NOW)), (None, Some(hour_use)), "it may be asked for");
        cell.reset();
        assert_eq!(cell.hour_use(NOW), None);
    }

    #[test]
    fn while_one_asks_the_others_wait_and_the_cell_stays_on_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = LeaseFile::open(folder.path()).unwrap();
        let cell = Cell::new("a".into());
        assert!(cell.enlist());
        assert!(!cell.enlist());
        let question = first_question(&cell, &file);
        assert!(matches!(cell.take_or_ask(1000, NOW, &file), Taken::Wait(_)));
        assert!(!cell.retire());
        assert!(cell.ask_to_take_back(NOW).is_none());
        cell.end_question(&question, None, NOW);
        assert!(!cell.retire(), "it may hold a lease");
        let question = cell.ask_to_take_back(NOW).unwrap();
        assert!(matches!(cell.take_or_ask(1000, NOW, &file), Taken::Wait(_)));
        cell.end_question(&question, Some(&LeaseAnswer { lease: None, ..answer(0) }), NOW);
        assert!(cell.retire());
        assert!(cell.enlist());
    }
}
