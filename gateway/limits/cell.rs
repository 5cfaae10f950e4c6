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
mod tests;
