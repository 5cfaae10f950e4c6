//! What is told of keys and their use: asked of the store, and in the form that commands print as JSON and the admin API answers.

pub mod audit;
pub mod breakdown;
pub mod hour;
pub mod rows;
pub mod series;

use std::time::Duration;

use crate::model::timestamp::Timestamp;
use crate::units::parse_duration;

/// How far back a report looks where nothing is said.
pub const SINCE: &str = "24h";

/// So long ago, or at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Ago(Duration),
    At(Timestamp),
}

impl When {
    pub fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => now.minus(duration),
            Self::At(instant) => instant,
        }
    }
}

pub fn when(text: &str) -> Result<When, &'static str> {
    let ago = parse_duration(text).ok().map(When::Ago);
    let when = ago.or_else(|| Timestamp::parse(text).map(When::At));
    when.ok_or("how long ago is needed, with its unit, like 24h or 30d; or a time as in RFC 3339, like 2027-01-31T12:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_so_long_ago_or_an_instant() {
        let now = Timestamp::from_secs(100_000);
        let instant = |text| when(text).map(|when| when.instant(now).as_secs());
        assert_eq!((instant("1h"), instant("0")), (Ok(96_400), Ok(100_000)));
        assert_eq!(instant("1970-01-02T00:00:00Z"), Ok(86_400));
        for refused in ["24", "yesterday", "", "-1h"] {
            assert!(when(refused).is_err(), "{refused}");
        }
    }
}
