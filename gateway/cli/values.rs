//! How the values of options are read. A message says what would be right.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::model::address::{IpNetSet, NotANetwork};
use crate::model::api_key::Environment;
use crate::model::timestamp::Timestamp;
use crate::units::parse_duration;

/// `--rate-limit`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit(pub Option<u64>);

pub fn rate_limit(text: &str) -> Result<RateLimit, &'static str> {
    if text == "none" {
        return Ok(RateLimit(None));
    }
    match text.parse() {
        Ok(0) => Err("no request would ever pass; `none` means no limit, and `keys update --disable` stops a key"),
        Ok(per_hour) => Ok(RateLimit(Some(per_hour))),
        Err(_) => Err("a whole number of requests per hour is needed, or `none` for no limit"),
    }
}

pub fn instant(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).ok_or("a time as in RFC 3339 is needed, like 2027-01-31T12:00:00Z")
}

/// `--since`, `--until`
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

/// Checked here, so that the message names the one entry that is wrong.
pub fn network(text: &str) -> Result<String, NotANetwork> {
    IpNetSet::parse(&[text]).map(|_| text.to_owned())
}

pub fn environment() -> impl TypedValueParser<Value = Environment> {
    let names = PossibleValuesParser::new(Environment::ALL.map(Environment::as_str));
    names.map(|name| Environment::parse(&name).expect("only names of environments are possible values"))
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

    #[test]
    fn a_rate_limit_is_a_number_that_lets_something_pass_or_none() {
        assert_eq!(rate_limit("1"), Ok(RateLimit(Some(1))));
        assert_eq!(rate_limit("none"), Ok(RateLimit(None)));
        for refused in ["0", "-1", "1.5", "", "1k", "None"] {
            assert!(rate_limit(refused).is_err(), "{refused}");
        }
    }
}
