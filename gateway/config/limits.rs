//! `[limits]`, and `limit` of a route.

use std::num::NonZeroU32;

use super::forms::one_of;
use super::problem::Complaint;
use super::section::Section;

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    pub on_authority_failure: OnAuthorityFailure,
    /// Of all routes without a limit of their own together.
    pub pace: Pace,
}

/// What a known key gets while nobody can be asked for its hour's count (`limits.on_redis_failure`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnAuthorityFailure {
    /// Count on locally, from what was known.
    Local,
    /// 503.
    Reject,
    /// Admit.
    Allow,
}

/// How fast requests of one key, or of one address without a key, may come, and how many may be under way at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    pub rate: Option<Rate>,
    pub concurrent: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At most a million.
    pub per_second: NonZeroU32,
    /// How many may come at once after a pause. At most a million.
    pub burst: NonZeroU32,
}

impl Pace {
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn read(section: &mut Section<'_>) -> Limits {
    let choices =
        [("local", OnAuthorityFailure::Local), ("reject", OnAuthorityFailure::Reject), ("allow", OnAuthorityFailure::Allow)];
    Limits { on_authority_failure: section.text("on_redis_failure", "local", one_of(&choices)), pace: read_pace(section) }
}

/// Zero is no limit.
pub(super) fn read_pace(section: &mut Section<'_>) -> Pace {
    let mut number = |key| NonZeroU32::new(u32::try_from(section.integer(key, 0, 0..=1_000_000)).expect("a million fits"));
    let (per_second, burst, concurrent) = (number("per_second"), number("burst"), number("concurrent"));
    if per_second.is_none() && burst.is_some() {
        section.complain("burst", Complaint::new("means nothing without per_second"));
    }
    let rate = per_second.map(|per_second| Rate { per_second, burst: burst.unwrap_or(per_second) });
    Pace { rate, concurrent }
}
