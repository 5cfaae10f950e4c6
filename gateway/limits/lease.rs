//! What one gateway holds and knows of one key's hour: a pure machine. Takes, answers and the clock go in, decisions come out.
//! It does not know who the authority is.
//!
//! What must stay true here:
//! - A request is admitted only against a permit the authority counted beforehand, so all gateways together never exceed the
//!   limit, whatever becomes of any of them. Only [`Allowance::take_alone`] admits without, and remembers that as a debt.
//! - A lease is at most a hundredth of the limit (at least one permit), belongs to one limit and one hour, and dies with either.
//!   The hour is the authority's. On the local clock it ends where it would if the authority had looked at its own clock in
//!   the instant the question left, so never too late; neither clock needs to be right, only to go on evenly.
//! - There is one lease at most, and none while a question is under way. What is told of a lease's end stays as told.
//! - That end is told with every question and report until one is confirmed: the authority takes a lease it hears nothing of for
//!   one whose answer was lost, and takes it back whole.
//! - Before a permit is spent the portion it lies in has been opened, which is written where a killed gateway finds it again.
//! - After a question without an answer the authority is asked to take back what it may have brought, though nobody needs a permit.
//!   Nothing is granted to a question once a later one was carried out.
//! - A debt travels in one message at a time and returns here if that was not answered. It may then be counted twice, never not at all.

#[cfg(test)]
mod histories;
mod hour;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::hour::Known;
pub use self::hour::Settled;
use super::fleet::Fleet;
use crate::config::OnAuthorityFailure;
use crate::model::lease::{Debt, LeaseAnswer, LeaseId, LeaseReport, LeaseRequest, Report};
use crate::model::quota::{HourWindow, Quota};
use crate::model::timestamp::Timestamp;

/// A killed gateway takes at most this part of the limit with it.
const LEASES_PER_LIMIT: u64 = 100;
/// A lease of 10,000 is written down a hundred times, one of a hundred or less at each request.
const PORTIONS_PER_LEASE: u64 = 100;
/// How long to believe that nothing is left while others may give some back. What the client is told to wait.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What becomes of a request, as far as the hourly limit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admitted(Quota),
    /// `retry_after_secs`, at least 1: until the full hour, or 1 while other gateways hold permits that may come back.
    Spent {
        quota: Quota,
        retry_after_secs: u64,
    },
    /// Nobody could be asked, and the configuration says to refuse then.
    Unavailable,
}

/// What a take needs before it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Decided(Verdict),
    /// Write this down, say so with [`Allowance::opened`], and take again.
    Open(Portion),
    /// The authority has to be asked.
    Ask,
}

/// The first `upto` permits of a lease are about to be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    pub lease: LeaseId,
    pub upto: u64,
}

/// A question under way.
#[derive(Clone, Debug)]
pub struct Question {
    pub request: LeaseRequest,
    asked_at: Timestamp,
    resets: u64,
}

#[derive(Debug, Default)]
pub struct Allowance {
    known: Option<Known>,
    lease: Option<Lease>,
    /// A lease that is over, until the authority confirms.
    ended: Option<LeaseReport>,
    /// The last question had no answer, so it may have brought a lease.
    may_hold: bool,
    debt: Option<Debt>,
    last_taken: Timestamp,
    /// Resets heard of. An answer from before the last one grants a lease that is void.
    resets: u64,
}

#[derive(Debug)]
struct Lease {
    id: LeaseId,
    permits: u64,
    opened: u64,
    spent: u64,
    reported: u64,
}

impl Allowance {
    /// One request, under the limit its key has now.
    pub fn take(&mut self, limit: u64, now: Timestamp) -> Step {
        let Some(known) = self.known.as_mut().filter(|known| known.holds_for(limit, now)) else {
            return Step::Ask;
        };
        if let Some(lease) = self.lease.as_mut().filter(|lease| lease.spent < lease.permits && known.counted < limit) {
            if lease.spent == lease.opened {
                return Step::Open(lease.next_portion());
            }
            lease.spent += 1;
            self.last_taken = now;
            return Step::Decided(known.admit());
        }
        known.refuse_at_once(now).map_or(Step::Ask, Step::Decided)
    }

    pub fn opened(&mut self, portion: Portion) {
        if let Some(lease) = self.lease.as_mut().filter(|lease| lease.id == portion.lease) {
            lease.opened = portion.upto;
        }
    }

    /// After [`Step::Ask`], if no question is under way: what to ask. `now` is read before the question is sent. `is_spooled`:
    /// portions can be written down.
    pub fn ask(&mut self, limit: u64, now: Timestamp, is_spooled: bool) -> Question {
        self.question(limit, (limit / LEASES_PER_LIMIT).max(1), now, is_spooled)
    }

    /// If no question is under way: how to give back what a question without an answer may have brought.
    pub fn ask_to_take_back(&mut self, now: Timestamp) -> Option<Question> {
        self.may_hold.then(|| self.question(1, 0, now, true))
    }

    pub fn answered(&mut self, question: &Question, answer: &LeaseAnswer, now: Timestamp) {
        self.confirm(question.request.ended);
        self.may_hold = false;
        if question.request.wanted == 0 {
            return;
        }
        if question.resets != self.resets {
            self.ended = answer.lease.map(|lease| LeaseReport { id: lease.id, spent: 0, finished: true });
            return;
        }
        let hour = HourWindow::containing(answer.now);
        let until = question.asked_at.plus(hour.end().since(answer.now));
        let permits = answer.lease.map_or(0, |lease| lease.permits);
        let counted = answer.used.saturating_sub(permits) + self.debt_in(hour);
        let known = self.known.insert(Known::new(question.request.limit, hour, until, counted));
        known.others_hold = answer.others_hold;
        if answer.lease.is_none() {
            known.is_spent_until(if answer.others_hold { now.plus(ASK_AGAIN) } else { until });
        }
        let opened = if question.request.is_spooled { 0 } else { permits };
        self.lease = answer.lease.map(|lease| Lease { id: lease.id, permits, opened, spent: 0, reported: 0 });
        self.last_taken = now;
    }

    /// The question failed; whether it was carried out is not known.
    pub fn unanswered(&mut self, question: &Question) {
        self.may_hold = true;
        self.owe(question.request.debt);
    }

    /// After [`Step::Ask`], while the authority cannot be asked. The fleet shares what was left when it last could be.
    pub fn take_alone(&mut self, limit: u64, now: Timestamp, policy: OnAuthorityFailure, fleet: Fleet) -> Verdict {
        if policy == OnAuthorityFailure::Reject {
            return Verdict::Unavailable;
        }
        self.end_lease();
        let known = match self.known.take().filter(|known| known.holds_at(now)) {
            Some(known) => known.under(limit),
            None => self.unknown_hour(limit, now),
        };
        let known = self.known.insert(known);
        known.may_be_asked_for();
        if policy == OnAuthorityFailure::Local && known.counted >= known.share_among(fleet) {
            return known.refuse(now);
        }
        let (verdict, hour) = (known.admit(), known.hour);
        self.owe(Some(Debt { hour, requests: 1 }));
        verdict
    }

    /// Ends a lease that nothing was taken of for `idle`, or whose hour is over, and says what the authority has not heard of.
    pub fn report(&mut self, now: Timestamp, idle: Duration) -> Option<Report> {
        let over = !self.known.as_ref().is_some_and(|known| known.holds_at(now));
        if over || now.since(self.last_taken) >= idle {
            self.end_lease();
        }
        let news = self.lease.as_ref().filter(|lease| lease.spent > lease.reported).map(|lease| lease.report(false));
        let report = Report { lease: self.ended.or(news), debt: self.debt.take() };
        (report.lease.is_some() || report.debt.is_some()).then_some(report)
    }

    /// `is_wanted_back`: others need what is left of the lease.
    pub fn confirmed(&mut self, report: &Report, is_wanted_back: bool) {
        self.confirm(report.lease);
        if let (Some(lease), Some(report)) = (self.lease.as_mut(), report.lease)
            && lease.id == report.id
        {
            lease.reported = report.spent;
            if is_wanted_back {
                self.end_lease();
            }
        }
    }

    pub fn unconfirmed(&mut self, report: &Report) {
        self.owe(report.debt);
    }

    /// The hour's count was set to zero by hand. A lease that is younger than that is given back, an older one is void; so is
    /// one that a question under way may bring.
    pub fn reset(&mut self) {
        self.doubt();
        self.known = None;
    }

    /// The hour may have been reset: nothing is spent before the authority was asked. While it cannot be, what was known holds.
    pub fn doubt(&mut self) {
        self.end_lease();
        self.known.iter_mut().for_each(Known::may_be_asked_for);
        self.resets += 1;
    }

    /// Stops spending the lease. What is left of it goes back with the next message.
    pub fn end_lease(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.ended = Some(lease.report(true));
        }
    }

    /// Of the hour as it is known: what was admitted by anybody or is held by others, and the limit.
    pub fn used(&self, now: Timestamp) -> Option<(u64, u64)> {
        self.known.as_ref().filter(|known| known.holds_at(now)).map(Known::used)
    }

    /// What is left to be known once the authority has heard of everything and nothing is held; `None` before. Not while a question or a
    /// report is under way.
    pub fn settle(&mut self) -> Option<Settled> {
        self.is_settled().then(|| Settled(self.known.take()))
    }

    fn is_settled(&self) -> bool {
        self.lease.is_none() && self.ended.is_none() && !self.may_hold && self.debt.is_none()
    }

    fn question(&mut self, limit: u64, wanted: u64, now: Timestamp, is_spooled: bool) -> Question {
        self.end_lease();
        let request = LeaseRequest { limit, wanted, is_spooled, ended: self.ended, debt: self.debt.take() };
        Question { request, asked_at: now, resets: self.resets }
    }

    fn confirm(&mut self, report: Option<LeaseReport>) {
        if report.is_some() && self.ended == report {
            self.ended = None;
        }
    }

    fn debt_in(&self, hour: HourWindow) -> u64 {
        self.debt.filter(|debt| debt.hour == hour).map_or(0, |debt| debt.requests)
    }

    /// A debt of an hour before the one at hand is of no use to anybody.
    fn owe(&mut self, debt: Option<Debt>) {
        let Some(more) = debt else { return };
        match &mut self.debt {
            Some(debt) if debt.hour > more.hour => {}
            Some(debt) if debt.hour == more.hour => debt.requests += more.requests,
            _ => self.debt = Some(more),
        }
    }

    fn unknown_hour(&self, limit: u64, now: Timestamp) -> Known {
        let hour = HourWindow::containing(now);
        Known::new(limit, hour, hour.end(), self.debt_in(hour))
    }
}

impl From<Settled> for Allowance {
    fn from(Settled(known): Settled) -> Self {
        Self { known, ..Self::default() }
    }
}

impl Lease {
    fn next_portion(&self) -> Portion {
        let portion = (self.permits / PORTIONS_PER_LEASE).max(1);
        Portion { lease: self.id, upto: (self.opened + portion).min(self.permits) }
    }

    fn report(&self, finished: bool) -> LeaseReport {
        LeaseReport { id: self.id, spent: self.spent, finished }
    }
}
