//! A key as people see it, in columns. For programs it is [`Shown`].

use crate::cli::output;
pub use crate::keyring::shown::{Listed, Shown};
use crate::model::key_record::{KeyRecord, Standing};
use crate::model::timestamp::Timestamp;

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
        Standing::Good if record.awaits_first_use => "active, awaits first use",
        Standing::Good => "active",
        Standing::Expired => "expired",
        Standing::Inactive if record.revoked_at.is_some() => "revoked",
        Standing::Inactive => "disabled",
    }
}

fn joined(entries: &[String], none: &str) -> String {
    if entries.is_empty() { none.to_owned() } else { entries.join(", ") }
}
