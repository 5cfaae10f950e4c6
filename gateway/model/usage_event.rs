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

/// Events kept beyond what they were borrowed from. All their texts lie in one string, so that a batch of thousands costs two
/// allocations.
#[derive(Debug, Default, PartialEq)]
pub struct UsageBatch {
    texts: String,
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq)]
struct Row {
    /// Without its texts.
    event: UsageEvent<'static>,
    /// Where they begin.
    start: usize,
    /// The bytes of each.
    lengths: [usize; 4],
}

impl UsageBatch {
    pub fn push(&mut self, event: &UsageEvent<'_>) {
        let UsageEvent { key_id, request_id, method, endpoint, .. } = *event;
        let (texts, start) = ([key_id, request_id, method, endpoint], self.texts.len());
        self.texts.extend(texts);
        let event = UsageEvent { key_id: "", request_id: "", method: "", endpoint: "", ..*event };
        self.rows.push(Row { event, start, lengths: texts.map(str::len) });
    }

    /// By their arrival: a store takes rows faster when they come as its index on time stands.
    pub fn sort(&mut self) {
        self.rows.sort_by_key(|row| row.event.timestamp);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = UsageEvent<'_>> {
        self.rows.iter().map(|Row { event, start, lengths }| {
            let mut rest = &self.texts[*start..];
            let [key_id, request_id, method, endpoint] = lengths.map(|length| {
                let (text, after) = rest.split_at(length);
                rest = after;
                text
            });
            UsageEvent { key_id, request_id, method, endpoint, ..*event }
        })
    }
}

impl<'a> FromIterator<UsageEvent<'a>> for UsageBatch {
    fn from_iter<I: IntoIterator<Item = UsageEvent<'a>>>(events: I) -> Self {
        let mut batch = Self::default();
        events.into_iter().for_each(|event| batch.push(&event));
        batch
    }
}
