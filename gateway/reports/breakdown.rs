//! What one key, or all of them, were used for, and from where.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::ids::KeyId;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{AddressUsage, EndpointUsage, StatusUsage, Store, StoreError, UsageBreakdown, UsageFilter, UsageSums};

/// Of endpoints and of addresses.
const MOST: usize = 10;

/// Of one key; `None`: of all.
pub async fn ask(
    store: &Store,
    key_id: Option<&KeyId>,
    since: Timestamp,
    until: Timestamp,
) -> Result<UsageBreakdown, StoreError> {
    let filter = UsageFilter { since, until, key_id: key_id.cloned(), endpoint: None, status: None };
    store.usage_breakdown(&filter, MOST).await
}

#[derive(Serialize, ToSchema)]
pub struct Breakdown<'a> {
    key_id: &'a str,
    name: &'a str,
    user_id: &'a str,
    #[serde(flatten)]
    used: Used<'a>,
}

/// The use alone, of whichever keys it was.
#[derive(Serialize, ToSchema)]
pub struct Used<'a> {
    since: String,
    #[serde(flatten)]
    sums: &'a UsageSums,
    first_used_at: Option<String>,
    last_used_at: Option<String>,
    statuses: &'a [StatusUsage],
    top_endpoints: &'a [EndpointUsage],
    slowest_endpoints: &'a [EndpointUsage],
    client_addresses: &'a [AddressUsage],
}

impl<'a> Breakdown<'a> {
    pub fn of(key: &'a KeyRecord, since: Timestamp, usage: &'a UsageBreakdown) -> Self {
        Self { key_id: key.key_id.as_str(), name: &key.name, user_id: key.user_id.as_str(), used: Used::of(since, usage) }
    }
}

impl<'a> Used<'a> {
    pub fn of(since: Timestamp, usage: &'a UsageBreakdown) -> Self {
        Self {
            since: since.to_rfc3339(),
            sums: &usage.sums,
            first_used_at: usage.first_at.map(Timestamp::to_rfc3339),
            last_used_at: usage.last_at.map(Timestamp::to_rfc3339),
            statuses: &usage.statuses,
            top_endpoints: &usage.busiest,
            slowest_endpoints: &usage.slowest,
            client_addresses: &usage.addresses,
        }
    }
}
