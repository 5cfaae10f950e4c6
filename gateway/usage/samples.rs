//! Events for the tests of this folder.

use std::net::IpAddr;

use proptest::prelude::*;

use super::record;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::{UsageBatch, UsageEvent};

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

pub fn numbers(rows: &UsageBatch) -> Vec<u64> {
    rows.iter().map(|event| event.response_bytes).collect()
}

/// The event of a batch of one.
pub fn only(batch: &UsageBatch) -> UsageEvent<'_> {
    batch.iter().next().expect("it has one")
}

/// In a batch of its own, which keeps its texts.
pub fn any_event() -> impl Strategy<Value = UsageBatch> {
    let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (texts, counts, any::<u16>(), any::<Option<IpAddr>>()).prop_map(|(texts, counts, status, client_ip)| {
        let event = UsageEvent {
            key_id: &texts.0,
            request_id: &texts.1,
            method: &texts.2,
            endpoint: &texts.3,
            status,
            timestamp: Timestamp::from_millis(counts.0),
            response_micros: counts.1,
            request_bytes: counts.2,
            response_bytes: counts.3,
            client_ip,
        };
        [event].into_iter().collect()
    })
}
