//! The window that hourly limits count in: one hour of the clock, UTC.

use super::timestamp::Timestamp;

const HOUR_MILLIS: u64 = 3_600_000;

/// A clock hour, counted from the epoch: 32 bits last for half a million years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HourWindow(u32);

impl HourWindow {
    pub fn containing(instant: Timestamp) -> Self {
        Self(u32::try_from(instant.as_millis() / HOUR_MILLIS).unwrap_or(u32::MAX))
    }

    /// Hours since the epoch: how the window is written in the store.
    pub const fn number(self) -> u64 {
        self.0 as u64
    }

    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The first instant of the next hour: when the count starts again.
    pub const fn end(self) -> Timestamp {
        Timestamp::from_millis((self.0 as u64 + 1) * HOUR_MILLIS)
    }
}

/// What a key may still do this hour, as its headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests per hour.
    pub limit: u64,
    /// Never more than what is truly left.
    pub remaining: u64,
    /// The next full hour.
    pub reset: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_starts_at_its_first_millisecond_and_ends_before_the_next() {
        let start = Timestamp::from_secs(7200);
        let hour = HourWindow::containing(start);
        assert_eq!(HourWindow::containing(Timestamp::from_millis(7_200_000 + HOUR_MILLIS - 1)), hour);
        assert_ne!(HourWindow::containing(Timestamp::from_millis(7_199_999)), hour);
        assert_eq!(hour.end(), Timestamp::from_secs(10_800));
        assert_eq!((hour.number(), HourWindow::from_number(2)), (2, hour));
    }
}
