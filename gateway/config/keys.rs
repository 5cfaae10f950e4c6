//! `[keys]`: their form, where they are looked for, and how long a copy of one is good.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::forms::{duration, one_of, positive_duration};
use super::problem::Complaint;
use super::section::{Section, within};

/// Requests per hour that a limit can be.
const RATE_LIMITS: RangeInclusive<usize> = 1..=1_000_000_000_000;

/// `[keys]`
#[derive(Debug, Clone)]
pub struct Keys {
    /// 1 to 16 lower-case letters and digits.
    pub prefix: String,
    /// After this a cached key is asked for again, in the background; more than zero.
    pub cache_ttl: Duration,
    pub cache_capacity: NonZeroUsize,
    /// How long a known key keeps working while the store cannot be asked. Zero: no longer than `cache_ttl`.
    pub stale_if_error: Duration,
    /// Per hour, for new keys; at least 1.
    pub default_rate_limit: u64,
    /// Per hour, of all keys of a user together, up to which they may create keys themselves; 0: they create none.
    pub owner_rate_limit: u64,
    /// At least one of them.
    pub accept: Accept,
}

/// Where a key is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accept {
    /// `Authorization: Bearer …`
    pub bearer: bool,
    /// `Authorization: ApiKey …`
    pub apikey: bool,
    /// `X-API-Key: …`
    pub x_api_key: bool,
    /// `?api_key=…`
    pub query: bool,
}

impl Accept {
    pub const NOTHING: Self = Self { bearer: false, apikey: false, x_api_key: false, query: false };
}

/// One place a key is looked for.
#[derive(Clone, Copy)]
enum Source {
    Bearer,
    ApiKey,
    XApiKey,
    Query,
}

const SOURCES: [(&str, Source); 4] =
    [("bearer", Source::Bearer), ("apikey", Source::ApiKey), ("x-api-key", Source::XApiKey), ("query", Source::Query)];

pub(super) fn read(section: &mut Section<'_>) -> Keys {
    let cache_ttl = section.text("cache_ttl", "300s", positive_duration);
    let default_rate_limit = section.integer("default_rate_limit", 1000, RATE_LIMITS);
    let default_rate_limit = section.env("DEFAULT_RATE_LIMIT", "default_rate_limit", rate_limit).unwrap_or(default_rate_limit);
    Keys {
        prefix: section.text("prefix", "hk", prefix),
        cache_ttl: section.env("API_KEY_CACHE_TTL", "cache_ttl", seconds).unwrap_or(cache_ttl),
        cache_capacity: NonZeroUsize::new(section.integer("cache_capacity", 1_000_000, 1..=100_000_000)).expect("at least 1"),
        stale_if_error: section.text("stale_if_error", "1h", duration),
        default_rate_limit: default_rate_limit as u64,
        owner_rate_limit: section.integer("owner_rate_limit", 10_000, 0..=*RATE_LIMITS.end()) as u64,
        accept: collect(&section.filled_list("accept", &["bearer", "apikey", "x-api-key"], one_of(&SOURCES))),
    }
}

/// A route's own `accept`; `None` where it is left out or empty, and that of `[keys]` holds.
pub(super) fn read_accept(section: &mut Section<'_>) -> Option<Accept> {
    let sources = section.list("accept", &[], one_of(&SOURCES));
    (!sources.is_empty()).then(|| collect(&sources))
}

fn collect(sources: &[Source]) -> Accept {
    let mut accept = Accept::default();
    for source in sources {
        match source {
            Source::Bearer => accept.bearer = true,
            Source::ApiKey => accept.apikey = true,
            Source::XApiKey => accept.x_api_key = true,
            Source::Query => accept.query = true,
        }
    }
    accept
}

fn prefix(text: &str) -> Result<String, Complaint> {
    let fits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match fits {
        true => Ok(text.to_owned()),
        false => Err(Complaint::new(format!("`{text}` must be 1 to 16 lower-case letters and digits"))),
    }
}

/// Plain seconds, as the variable is written in existing deployments.
fn seconds(text: &str) -> Result<Duration, Complaint> {
    positive_duration(&format!("{}s", whole_number(text)?))
}

fn rate_limit(text: &str) -> Result<usize, Complaint> {
    within(whole_number(text)?, &RATE_LIMITS)
}

fn whole_number(text: &str) -> Result<i64, Complaint> {
    text.parse().map_err(|_| Complaint::new(format!("`{text}` is no whole number")))
}
