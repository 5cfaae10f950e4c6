//! How the values of options are read. A message says what would be right.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::model::address::{IpNetSet, NotANetwork};
use crate::model::api_key::Environment;
use crate::model::timestamp::Timestamp;

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
    fn a_rate_limit_is_a_number_that_lets_something_pass_or_none() {
        assert_eq!(rate_limit("1"), Ok(RateLimit(Some(1))));
        assert_eq!(rate_limit("none"), Ok(RateLimit(None)));
        for refused in ["0", "-1", "1.5", "", "1k", "None"] {
            assert!(rate_limit(refused).is_err(), "{refused}");
        }
    }
}
