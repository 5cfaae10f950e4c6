//! Events for the tests of this folder.

use std::net::IpAddr;

use proptest::prelude::*;

use super::record;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::UsageEvent;
use crate::store::UsageRow;

/// An event that is known by its number, which stands in `response_bytes`.
pub fn event(number: u64) -> UsageEvent<'static> {
    UsageEvent {
        key_id: "key_0123456789abcdef01234567",
        request_id: "0b7a1a4e-4b0f-4f7e-9d3c-2f0f6f1f2a3b",
        method: "GET",
        endpoint: "/v1/things/42",
        status: 200,
        timestamp: Timestamp::from_secs(1_795_341_600),
        response_micros: 1234,
        request_bytes: 0,
        response_bytes: number,
        client_ip: Some(IpAddr::from([10, 0, 0, 1])),
    }
}

/// The records of the events with these numbers.
pub fn encoded(numbers: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    numbers.for_each(|number| record::encode(&event(number), &mut bytes));
    bytes
}

pub fn numbers(rows: &[UsageRow]) -> Vec<u64> {
    rows.iter().map(|row| row.response_bytes).collect()
}

pub fn as_event(row: &UsageRow) -> UsageEvent<'_> {
    UsageEvent {
        key_id: &row.key_id,
        request_id: &row.request_id,
        method: &row.method,
        endpoint: &row.endpoint,
        status: row.status,
        timestamp: row.timestamp,
        response_micros: row.response_micros,
        request_bytes: row.request_bytes,
        response_bytes: row.response_bytes,
        client_ip: row.client_ip,
    }
}

pub fn any_event() -> impl Strategy<Value = UsageRow> {
    let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (texts, counts, any::<u16>(), any::<Option<IpAddr>>()).prop_map(|(texts, counts, status, client_ip)| UsageRow {
        key_id: texts.0,
        request_id: texts.1,
        method: texts.2,
        endpoint: texts.3,
        status,
        timestamp: Timestamp::from_millis(counts.0),
        response_micros: counts.1,
        request_bytes: counts.2,
        response_bytes: counts.3,
        client_ip,
    })
}
