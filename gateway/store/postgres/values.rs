//! Our words as PostgreSQL's, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::timestamp::Timestamp;

/// The end of the year 9999: PostgreSQL takes more, its clients do not.
const LAST: Timestamp = Timestamp::from_secs(253_402_300_799);

/// A `timestamptz`.
pub(super) fn instant(timestamp: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(timestamp.min(LAST).as_millis())
}

/// To the millisecond below, so that an instant stays in its hour. What is before the epoch becomes the epoch.
pub(super) fn timestamp(instant: SystemTime) -> Timestamp {
    let since = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}

/// A `bigint`. More than it holds becomes the most that it holds.
pub(super) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count that a `bigint` column holds. What is below zero, by somebody's hand, becomes zero.
pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
