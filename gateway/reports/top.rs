//! The keys with the most requests.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::KeyUsage;

#[derive(Serialize, ToSchema)]
pub struct KeyOfTop<'a> {
    name: &'a str,
    user_id: &'a str,
    request_count: u64,
    avg_response_time_ms: f64,
}

impl<'a> KeyOfTop<'a> {
    fn of(usage: &'a KeyUsage) -> Self {
        Self {
            name: &usage.name,
            user_id: &usage.user_id,
            request_count: usage.request_count,
            avg_response_time_ms: usage.avg_response_time_ms,
        }
    }
}

pub fn json(keys: &[KeyUsage]) -> Vec<KeyOfTop<'_>> {
    keys.iter().map(KeyOfTop::of).collect()
}
