//! A key as it is shown: to programs with fixed names, to people in columns.

use serde::Serialize;

use crate::cli::output;
use crate::model::key_record::{KeyRecord, Standing};
use crate::model::timestamp::Timestamp;

/// What every answer about a key holds, in this order.
#[derive(Serialize)]
pub struct Shown<'a> {
    key_id: &'a str,
    key_prefix: &'a str,
    user_id: &'a str,
    name: &'a str,
    environment: &'static str,
    created_at: String,
    expires_at: Option<String>,
    rate_limit_per_hour: Option<u64>,
    allowed_ips: Vec<String>,
    scopes: &'a [String],
    is_active: bool,
}

impl<'a> Shown<'a> {
    pub fn of(record: &'a KeyRecord) -> Self {
        Self {
            key_id: record.key_id.as_str(),
            key_prefix: &record.key_prefix,
            user_id: record.user_id.as_str(),
            name: &record.name,
            environment: record.environment.as_str(),
            created_at: record.created_at.to_rfc3339(),
            expires_at: record.expires_at.map(Timestamp::to_rfc3339),
            rate_limit_per_hour: record.rate_limit_per_hour,
            allowed_ips: record.allowed_ips.to_strings(),
            scopes: &record.scopes,
            is_active: record.is_active,
        }
    }
}

/// What `list`, `show` and `update` answer.
#[derive(Serialize)]
pub struct Listed<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    last_used_at: Option<String>,
}

impl<'a> Listed<'a> {
    pub fn of(record: &'a KeyRecord) -> Self {
        Self { shown: Shown::of(record), last_used_at: record.last_used_at.map(Timestamp::to_rfc3339) }
    }
}

/// All of one key, for people.
pub fn details(record: &KeyRecord, now: Timestamp) -> String {
    output::fields([
        ("Key id", record.key_id.to_string()),
        ("Starts with", record.key_prefix.clone()),
        ("User", record.user_id.to_string()),
        ("Name", record.name.clone()),
        ("Environment", record.environment.as_str().to_owned()),
        ("State", state(record, now).to_owned()),
        ("Rate limit", record.rate_limit_per_hour.map_or("none".to_owned(), |limit| format!("{limit} per hour"))),
        ("Allowed from", joined(&record.allowed_ips.to_strings(), "anywhere")),
        ("Scopes", joined(&record.scopes, "none")),
        ("Created (UTC)", output::time(record.created_at)),
        ("Expires (UTC)", output::time_or(record.expires_at, "never")),
        ("Last used (UTC)", output::time_or(record.last_used_at, "never")),
    ])
}

/// Many keys, a line each, for people.
pub fn overview(records: &[KeyRecord], now: Timestamp) -> String {
    let heading = ["KEY ID", "STARTS WITH", "USER", "NAME", "STATE", "PER HOUR", "EXPIRES (UTC)", "LAST USED (UTC)"];
    let row = |record: &KeyRecord| {
        [
            record.key_id.to_string(),
            record.key_prefix.clone(),
            record.user_id.to_string(),
            record.name.clone(),
            state(record, now).to_owned(),
            record.rate_limit_per_hour.map_or("no limit".to_owned(), |limit| limit.to_string()),
            output::time_or(record.expires_at, "never"),
            output::time_or(record.last_used_at, "never"),
        ]
    };
    output::table(heading, records.iter().map(row))
}

fn state(record: &KeyRecord, now: Timestamp) -> &'static str {
    match record.standing(now) {
        Standing::Good => "active",
        Standing::Expired => "expired",
        Standing::Inactive if record.revoked_at.is_some() => "revoked",
        Standing::Inactive => "disabled",
    }
}

fn joined(entries: &[String], none: &str) -> String {
    if entries.is_empty() { none.to_owned() } else { entries.join(", ") }
}
