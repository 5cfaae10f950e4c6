//! An instant of wall-clock time, in milliseconds since the Unix epoch, UTC.

use std::time::Duration;

use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::Offset;

/// Milliseconds since 1970-01-01T00:00:00Z. Instants before it do not occur here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The end of time.
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `duration` later, to the millisecond; stays at the end of time instead of overflowing.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// `duration` earlier; stays at the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// RFC 3339 with milliseconds and a numeric offset, as existing clients parse it: `2026-11-22T10:00:00.000+00:00`.
    pub fn to_rfc3339(self) -> String {
        format!("{}+00:00", self.printed(b'T'))
    }

    /// The form SQLite's own date functions use, so that text compares in order: `2026-11-22 10:00:00.000`.
    pub fn to_sql_text(self) -> String {
        self.printed(b' ')
    }

    /// Reads RFC 3339, or the same with a space for the `T`, with or without fraction and offset (none means UTC).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let parsed = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        })?;
        u64::try_from(parsed.as_millisecond()).ok().map(Self)
    }

    /// `2026-11-22T10:00:00.000` with this for the `T`. Written for every row of usage: `strftime` takes four times as long.
    fn printed(self, separator: u8) -> String {
        let instant = i64::try_from(self.0)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        let printer = DateTimePrinter::new().separator(separator).precision(Some(3));
        printer.datetime_to_string(&Offset::UTC.to_datetime(instant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_form_reads_back_as_the_same_instant() {
        let instant = Timestamp::from_millis(1_795_341_600_123);
        assert_eq!(Timestamp::parse(&instant.to_rfc3339()), Some(instant));
        assert_eq!(Timestamp::parse(&instant.to_sql_text()), Some(instant));
    }

    #[test]
    fn forms_that_people_and_other_programs_write_are_read() {
        let noon = Timestamp::parse("2026-11-22T12:00:00Z");
        assert!(noon.is_some());
        for same in ["2026-11-22 12:00:00", "2026-11-22T13:00:00+01:00", "2026-11-22 12:00:00.000000", "2026-11-22T12:00:00"] {
            assert_eq!(Timestamp::parse(same), noon, "{same}");
        }
        assert_eq!(Timestamp::parse("tomorrow"), None);
    }
}
