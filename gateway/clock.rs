//! Where time comes from. Nothing else asks the system, so that what is judged by time can be handed any.

#![expect(clippy::disallowed_methods, reason = "the one place that may ask the system for the time")]

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::timestamp::Timestamp;

/// Wall-clock time: what expiry, hours and usage are judged by. A clock set before 1970 counts as 1970.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
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
    static ANCHOR: Cell<Option<Moment>> = const { Cell::new(None) };
}

/// A clock that is set is noticed this late.
const ANCHOR_HOLDS: Duration = Duration::from_millis(100);

impl Moment {
    /// Asks one clock of the two, mostly.
    pub fn now() -> Self {
        let monotonic = monotonic();
        let holds = |anchor: &Self| monotonic.saturating_duration_since(anchor.monotonic) < ANCHOR_HOLDS;
        if let Some(anchor) = ANCHOR.get().filter(holds) {
            return Self { wall: anchor.wall_at(monotonic), monotonic };
        }
        let anchor = Self { wall: now(), monotonic };
        ANCHOR.set(Some(anchor));
        anchor
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
