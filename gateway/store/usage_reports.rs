//! What is asked of the rows of usage, and in which words it is answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;

/// Rows of an export that are in memory at once, a few times over.
pub(super) const ROWS_OF_A_PAGE: usize = 1_000;
/// A step that holds all others.
pub(super) const ALL_TIME: Duration = Duration::from_secs(1 << 40);

/// Which rows count.
#[derive(Clone, Debug)]
pub struct UsageFilter {
    pub since: Timestamp,
    /// From here on they do not.
    pub until: Timestamp,
    pub key_id: Option<KeyId>,
    pub endpoint: Option<String>,
    pub status: Option<u16>,
}

/// Some requests taken together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageSums {
    pub request_count: u64,
    pub errors_4xx: u64,
    pub errors_5xx: u64,
    pub avg_response_time_ms: f64,
    /// The quickest answer that at least 95 of 100 did not exceed; zero, like the mean, where there was no request.
    pub p95_response_time_ms: f64,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// A step of time with at least one request.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageStep {
    pub start: Timestamp,
    pub sums: UsageSums,
}

/// What the requests of a filter were. Each part is read for itself: of rows that are written meanwhile one may know more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageBreakdown {
    pub sums: UsageSums,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
    /// By code, all there are.
    pub statuses: Vec<StatusUsage>,
    /// Those with the most requests come first.
    pub busiest: Vec<EndpointUsage>,
    /// Those with the longest mean time come first.
    pub slowest: Vec<EndpointUsage>,
    /// Those with the most requests come first.
    pub addresses: Vec<AddressUsage>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusUsage {
    pub status_code: i64,
    pub request_count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndpointUsage {
    pub endpoint: String,
    pub request_count: u64,
    pub avg_response_time_ms: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AddressUsage {
    /// `None`: of these requests it was not known.
    pub client_ip: Option<String>,
    pub request_count: u64,
}

/// One row, as it stands in the table. What is `None` was not recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRow {
    pub timestamp: Timestamp,
    pub key_id: String,
    pub method: Option<String>,
    pub endpoint: String,
    pub status_code: i64,
    pub response_time_ms: f64,
    pub request_bytes: Option<u64>,
    pub response_bytes: Option<u64>,
    pub client_ip: Option<String>,
    pub request_id: Option<String>,
}
