//! What a gateway and the authority over an hour's count say to each other. The authority is Redis, or the store without it.

use super::ids::KeyId;
use super::quota::HourWindow;
use super::timestamp::Timestamp;

/// Names a question of a gateway, and the lease that it brings. Each is above all earlier ones of the same spool, so an authority
/// can tell a question that comes late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(u64);

impl LeaseId {
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A gateway needs permits of a key, or gives back what it may hold of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Requests per hour, above zero.
    pub limit: u64,
    /// The most that may be granted. Zero gives back alone.
    pub wanted: u64,
    /// Whether a killed gateway finds the lease in its spool and settles it. If not, it counts as spent unless its end is told.
    pub is_spooled: bool,
    /// The lease this gateway had before, if the authority has not confirmed its end. Any other lease of the key under the same
    /// spool was granted in an answer that never arrived, and goes back unspent.
    pub ended: Option<LeaseReport>,
    /// Admitted without asking.
    pub debt: Option<Debt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseReply {
    Decided(LeaseAnswer),
    /// Nothing was done: the authority has carried out this question of the same spool, which is no earlier one.
    Late(LeaseId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// The authority's clock, read while it decided: the hour is the one that contains this.
    pub now: Timestamp,
    /// What is counted in the hour: everything admitted and everything on lease, this lease included.
    pub used: u64,
    /// `None`: nothing is left, or nothing was wanted.
    pub lease: Option<Grant>,
    /// Whether somebody holds a lease that is not wholly spent, so that some may yet come back.
    pub others_hold: bool,
}

/// Permits to admit requests of one key until the hour ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: LeaseId,
    /// Above zero, at most what was wanted.
    pub permits: u64,
}

/// What the authority should hear of a key, apart from questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub lease: Option<LeaseReport>,
    pub debt: Option<Debt>,
}

/// A report and the key that it is of.
pub type News = (KeyId, Report);

/// What became of a lease so far. Telling it twice changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseReport {
    pub id: LeaseId,
    pub spent: u64,
    /// No more will be spent: the rest goes back to the hour.
    pub finished: bool,
}

/// Requests admitted in an hour while the authority could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debt {
    pub hour: HourWindow,
    pub requests: u64,
}
