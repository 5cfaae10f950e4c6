//! A key as programs see it, with fixed names: what commands print as JSON and the admin API answers.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;

/// What every answer about a key holds, in this order.
#[derive(Serialize, ToSchema)]
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
#[derive(Serialize, ToSchema)]
pub struct Listed<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    last_used_at: Option<String>,
    /// Only a bcrypt hash is known of its secret until it is used; left out where that is not so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    awaits_first_use: bool,
}

impl<'a> Listed<'a> {
    pub fn of(record: &'a KeyRecord) -> Self {
        Self {
            shown: Shown::of(record),
            last_used_at: record.last_used_at.map(Timestamp::to_rfc3339),
            awaits_first_use: record.awaits_first_use,
        }
    }
}

/// What the admin API answers: besides, whether a key that does not work was only disabled.
#[derive(Serialize, ToSchema)]
pub struct Told<'a> {
    #[serde(flatten)]
    listed: Listed<'a>,
    revoked_at: Option<String>,
}

impl<'a> Told<'a> {
    pub fn of(record: &'a KeyRecord) -> Self {
        Self { listed: Listed::of(record), revoked_at: record.revoked_at.map(Timestamp::to_rfc3339) }
    }
}
