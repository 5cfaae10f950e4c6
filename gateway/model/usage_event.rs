//! One admitted request, as it is journalled and then written to `api_key_usage`.

use std::net::IpAddr;

use super::timestamp::Timestamp;

/// Longest `endpoint` kept, in bytes; the rest of a longer path is dropped.
pub const MAX_ENDPOINT_BYTES: usize = 2048;

/// Borrowed from the request that just ended, so that recording it allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsageEvent<'a> {
    pub key_id: &'a str,
    pub request_id: &'a str,
    pub method: &'a str,
    /// The path without its query.
    pub endpoint: &'a str,
    /// What the client was answered; 499 when it left before.
    pub status: u16,
    /// When the request arrived.
    pub timestamp: Timestamp,
    /// Microseconds from the request's arrival to the end of its answer.
    pub response_micros: u64,
    /// Bytes of body received from the client.
    pub request_bytes: u64,
    /// Bytes of body sent to the client.
    pub response_bytes: u64,
    pub client_ip: Option<IpAddr>,
}
