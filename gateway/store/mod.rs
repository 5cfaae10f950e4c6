//! Where keys, counts and usage are kept. The words here are the same for every kind of store.

mod events;
mod feed;
#[cfg(test)]
mod guarantees;
mod imports;
mod migrations;
mod networks;
pub mod postgres;
mod questions;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod testing;
mod usage_reports;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::address::IpNetSet;
use crate::model::ids::{KeyId, UserId};
use crate::model::key_hash::KeyHash;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;

pub use events::{EventFilter, Link, ListedEvent};
pub use feed::{Change, ChangeFeed, News};
pub use imports::{ForeignKeys, ImportedHash, ImportedKey, Presence};
pub use networks::{KeyNetwork, NewNetwork};
pub use questions::Store;
pub use usage_reports::{AddressUsage, EndpointUsage, StatusUsage, UsageBreakdown, UsageFilter, UsageRow, UsageStep, UsageSums};

/// Why a question to the store has no answer. "Not found" is an answer, not an error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or opened, is locked, or its disk is full: ask again later.
    #[error("{0}")]
    Unavailable(String),
    /// No answer within `store.timeout`. A change may have been made all the same.
    #[error("the store did not answer within {0:?}")]
    Timeout(Duration),
    /// The tables are not those this binary works with. Waiting does not help.
    #[error("{0}")]
    Schema(String),
    /// A row that cannot be understood, as when somebody wrote a time or an address list by hand and mistyped it.
    #[error("api_keys row {key_id}: {says}")]
    BadRecord { key_id: String, says: String },
    /// The key is not as whoever changes it has seen it.
    #[error("key {0} was changed meanwhile; look at it again")]
    Changed(KeyId),
    /// The change would break a rule of the tables (the message names it).
    #[error("{0}")]
    Refused(String),
}

/// Which keys to list; by default all.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    pub user_id: Option<UserId>,
    /// Only those that may be used at this instant.
    pub good_at: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    /// Only those whose current secret is from before this instant.
    pub secret_before: Option<Timestamp>,
    /// Only those that come after this one.
    pub after: Option<KeyId>,
    /// So many rows at most; `None`: all.
    pub most: Option<usize>,
}

/// Keys in the order they were created, and what is wrong with the rows that could not be read.
#[derive(Debug, Default)]
pub struct KeyListing {
    pub keys: Vec<KeyRecord>,
    pub unreadable: Vec<StoreError>,
    /// The last row, where there may be more behind it.
    pub last: Option<KeyId>,
}

/// What to do with one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Update<T> {
    #[default]
    Keep,
    Set(T),
}

/// A change of a key's settings; by default none.
#[derive(Clone, Debug, Default)]
pub struct KeyChanges {
    /// Only if the key has one of these [versions](KeyRecord::version).
    pub only_if: Option<Vec<String>>,
    pub user_id: Update<UserId>,
    pub name: Update<String>,
    /// `None`: never.
    pub expires_at: Update<Option<Timestamp>>,
    pub is_active: Update<bool>,
    /// `None`: no limit.
    pub rate_limit_per_hour: Update<Option<u64>>,
    /// Empty: any address.
    pub allowed_ips: Update<IpNetSet>,
    pub scopes: Update<Vec<String>>,
}

/// What is stored of a fresh secret.
#[derive(Clone, Debug)]
pub struct NewSecret {
    pub hash: KeyHash,
    /// The part that may be shown.
    pub prefix: String,
}

impl KeyChanges {
    /// # Errors
    /// [`StoreError::Changed`]
    fn apply_to(self, record: &mut KeyRecord) -> Result<(), StoreError> {
        if self.only_if.is_some_and(|versions| !versions.contains(&record.version())) {
            return Err(StoreError::Changed(record.key_id.clone()));
        }
        self.user_id.apply_to(&mut record.user_id);
        self.name.apply_to(&mut record.name);
        self.expires_at.apply_to(&mut record.expires_at);
        self.is_active.apply_to(&mut record.is_active);
        self.rate_limit_per_hour.apply_to(&mut record.rate_limit_per_hour);
        self.allowed_ips.apply_to(&mut record.allowed_ips);
        self.scopes.apply_to(&mut record.scopes);
        Ok(())
    }
}

impl<T> Update<T> {
    fn apply_to(self, field: &mut T) {
        if let Self::Set(value) = self {
            *field = value;
        }
    }
}

/// The key, unless it was revoked: that is for good.
fn changeable(record: KeyRecord) -> Result<KeyRecord, StoreError> {
    let KeyRecord { key_id, revoked_at, .. } = &record;
    match revoked_at.map(Timestamp::to_rfc3339) {
        None => Ok(record),
        Some(when) => Err(StoreError::Refused(format!(
            "key {key_id} was revoked at {when} and cannot be changed any more; create a new one"
        ))),
    }
}

/// A key after its rotation.
#[derive(Clone, Debug)]
pub struct Rotated {
    pub record: KeyRecord,
    /// Until when the secret before works; `None`: it ended at once.
    pub previous_valid_until: Option<Timestamp>,
}

/// A gateway as it last reported itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReport {
    pub gateway_id: String,
    /// Since it reported.
    pub silent_for: Duration,
}

/// Up to where a gateway's journal stands in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalPosition {
    pub segment: u64,
    /// Bytes from the segment's start.
    pub offset: u64,
}

/// How much a key was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyUsage {
    pub name: String,
    pub user_id: String,
    pub request_count: u64,
    pub avg_response_time_ms: f64,
}

/// Which migrations were applied, and how many rows the main tables hold (`None` while they are not there).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    pub migrations: Vec<MigrationState>,
    pub api_keys: Option<u64>,
    pub api_key_usage: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    pub version: u32,
    pub name: String,
    /// As the store wrote it, UTC; `None`: not applied.
    pub applied_at: Option<Timestamp>,
}
