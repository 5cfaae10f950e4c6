//! Where time comes from. Nothing else asks the system, so that what is judged by time can be handed any.

#![expect(clippy::disallowed_methods, reason = "the one place that may ask the system for the time")]

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::timestamp::Timestamp;

/// Wall-clock time: what expiry, hours and usage are judged by. A clock set before 1970 counts as 1970.
pub fn now() -> Timestamp {
    timestamp(since_epoch())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn timestamp(since_epoch: Duration) -> Timestamp {
    Timestamp::from_millis(since_epoch.as_secs().saturating_mul(1000).saturating_add(since_epoch.subsec_millis().into()))
}

/// Never goes back: what durations and deadlines are measured by.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// One instant by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub wall: Timestamp,
    pub monotonic: Instant,
}

thread_local! {
    /// Where this thread's wall clock stood a moment ago.
    static ANCHOR: Cell<Option<Anchor>> = const { Cell::new(None) };
}

/// Exact: what is cut off here would be missing from every instant that is reckoned from it, and a key would live that much longer.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    since_epoch: Duration,
    monotonic: Instant,
}

impl Anchor {
    fn set(monotonic: Instant) -> Self {
        let anchor = Self { since_epoch: since_epoch(), monotonic };
        ANCHOR.set(Some(anchor));
        anchor
    }

    fn wall_after(&self, elapsed: Duration) -> Timestamp {
        timestamp(self.since_epoch.saturating_add(elapsed))
    }
}

/// A clock that is set is noticed this late.
const ANCHOR_HOLDS: Duration = Duration::from_millis(100);

impl Moment {
    /// Asks one clock of the two, mostly.
    pub fn now() -> Self {
        let monotonic = monotonic();
        let known = ANCHOR.get().map(|anchor| (anchor, monotonic.saturating_duration_since(anchor.monotonic)));
        let (anchor, elapsed) =
            known.filter(|(_, elapsed)| *elapsed < ANCHOR_HOLDS).unwrap_or_else(|| (Anchor::set(monotonic), Duration::ZERO));
        Self { wall: anchor.wall_after(elapsed), monotonic }
    }

    /// The wall-clock time at a later instant, should nobody set the clock meanwhile.
    pub fn wall_at(&self, later: Instant) -> Timestamp {
        self.wall.plus(later.saturating_duration_since(self.monotonic))
    }
}

/// Whole milliseconds, at most a quarter of what fits, so that a few of them can be added up.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a key would be let in up to a millisecond after its end.
    #[test]
    fn a_millisecond_begins_when_it_does_and_not_later() {
        let anchor = Anchor { since_epoch: Duration::from_micros(10_000_900), monotonic: monotonic() };
        let wall = |micros| anchor.wall_after(Duration::from_micros(micros)).as_millis();
        assert_eq!([0, 99, 100, 1_099, 1_100].map(wall), [10_000, 10_000, 10_001, 10_001, 10_002]);
    }
}
