//! What one gateway knows of one key's hour. Every key in use has one of these, so they are small.

use std::time::Duration;

use super::Verdict;
use crate::limits::fleet::Fleet;
use crate::model::quota::{HourWindow, Quota};
use crate::model::timestamp::Timestamp;

const HOUR: Duration = Duration::from_hours(1);

/// As of the last exchange and what was admitted here since.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub limit: u64,
    pub hour: HourWindow,
    /// The hour's end on the local clock.
    pub until: Timestamp,
    /// Admitted by anybody, and what others hold on lease.
    pub counted: u64,
    pub others_hold: bool,
    rest: Rest,
}

/// What is left beside leases.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// The authority knows.
    Unknown,
    /// Nothing until then, and there is no use in asking.
    NothingUntil(Unaligned<Timestamp>),
    /// The authority could not be asked. `counted` may come to this here, so that the other gateways have their part.
    SharedTo(Unaligned<u64>),
}

/// A [`Rest`] takes one byte more than what is in it, instead of eight.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed)]
struct Unaligned<T>(T);

/// Of a key that nothing is held or owed of.
#[derive(Debug, Default)]
pub struct Settled(pub(super) Option<Known>);

impl Settled {
    /// One request, where it can be decided without asking: it is refused.
    pub fn take(&self, limit: u64, now: Timestamp) -> Option<Verdict> {
        self.0.as_ref().filter(|known| known.holds_for(limit, now))?.refuse_at_once(now)
    }

    /// As [`Allowance::used`](super::Allowance::used).
    pub fn used(&self, now: Timestamp) -> Option<(u64, u64)> {
        self.0.as_ref().filter(|known| known.holds_at(now)).map(Known::used)
    }

    /// As [`Allowance::reset`](super::Allowance::reset).
    pub fn reset(&mut self) {
        self.0 = None;
    }

    /// As [`Allowance::doubt`](super::Allowance::doubt).
    pub fn doubt(&mut self) {
        self.0.iter_mut().for_each(Known::may_be_asked_for);
    }
}

impl Known {
    pub fn new(limit: u64, hour: HourWindow, until: Timestamp, counted: u64) -> Self {
        Self { limit, hour, until, counted, others_hold: false, rest: Rest::Unknown }
    }

    /// The same hour under another limit, of which nobody has a share yet.
    pub fn under(self, limit: u64) -> Self {
        match self.limit == limit {
            true => self,
            false => Self { limit, rest: Rest::Unknown, ..self },
        }
    }

    pub fn holds_for(&self, limit: u64, now: Timestamp) -> bool {
        self.limit == limit && self.holds_at(now)
    }

    /// An end more than an hour away was reckoned on a clock that has been set back since.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        let left = self.until.since(now);
        !left.is_zero() && left <= HOUR
    }

    pub fn is_spent_until(&mut self, then: Timestamp) {
        self.rest = Rest::NothingUntil(Unaligned(then));
    }

    pub fn may_be_asked_for(&mut self) {
        if let Rest::NothingUntil(_) = self.rest {
            self.rest = Rest::Unknown;
        }
    }

    pub fn used(&self) -> (u64, u64) {
        (self.counted, self.limit)
    }

    /// Which is shared from now on, if it was not.
    pub fn share_among(&mut self, fleet: Fleet) -> u64 {
        if let Rest::SharedTo(Unaligned(most)) = self.rest {
            return most;
        }
        let most = self.counted + fleet.share(self.limit.saturating_sub(self.counted));
        self.rest = Rest::SharedTo(Unaligned(most));
        most
    }

    pub fn admit(&mut self) -> Verdict {
        self.counted += 1;
        Verdict::Admitted(self.quota())
    }

    /// If there is no use in asking.
    pub fn refuse_at_once(&self, now: Timestamp) -> Option<Verdict> {
        match self.rest {
            Rest::NothingUntil(then) => (now < { then.0 }).then(|| self.refuse(now)),
            Rest::Unknown | Rest::SharedTo(_) => None,
        }
    }

    pub fn refuse(&self, now: Timestamp) -> Verdict {
        let to_the_hour = self.until.since(now).as_millis().div_ceil(1000);
        let retry_after_secs = if self.others_hold { 1 } else { u64::try_from(to_the_hour).unwrap_or(1).max(1) };
        Verdict::Spent { quota: self.quota(), retry_after_secs }
    }

    fn quota(&self) -> Quota {
        let most = if let Rest::SharedTo(Unaligned(most)) = self.rest { most } else { self.limit };
        Quota { limit: self.limit, remaining: most.saturating_sub(self.counted), reset: self.hour.end() }
    }
}
