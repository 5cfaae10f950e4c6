//! What a key has used of its hour.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::quota::HourWindow;
use crate::model::timestamp::Timestamp;

#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HourUsage {
    /// Per hour; `None` for no limit, and then nothing remains or is used up either.
    pub limit: Option<u64>,
    pub used: u64,
    pub remaining: Option<u64>,
    /// Unix seconds of the next full hour.
    pub reset: u64,
}

impl HourUsage {
    pub fn new(limit: Option<u64>, used: u64, now: Timestamp) -> Self {
        let remaining = limit.map(|limit| limit.saturating_sub(used));
        Self { limit, used, remaining, reset: HourWindow::containing(now).end().as_secs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_remains_of_a_limit_that_was_lowered_below_what_is_used() {
        let usage = HourUsage::new(Some(10), 12, Timestamp::from_secs(3601));
        assert_eq!(usage, HourUsage { limit: Some(10), used: 12, remaining: Some(0), reset: 7200 });
    }
}
