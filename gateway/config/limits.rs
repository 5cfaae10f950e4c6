//! `[limits]`

use super::forms::one_of;
use super::section::Section;

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    pub on_authority_failure: OnAuthorityFailure,
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

pub(super) fn read(section: &mut Section<'_>) -> Limits {
    let choices =
        [("local", OnAuthorityFailure::Local), ("reject", OnAuthorityFailure::Reject), ("allow", OnAuthorityFailure::Allow)];
    Limits { on_authority_failure: section.text("on_redis_failure", "local", one_of(&choices)) }
}
