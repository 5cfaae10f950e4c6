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

/// Events kept beyond what they were borrowed from. All their texts lie in one string, so that a batch of thousands costs three
/// allocations, and one that is cleared and filled again costs none.
#[derive(Debug, Default, PartialEq)]
pub struct UsageBatch {
    texts: String,
    rows: Vec<Row>,
    /// When each arrived and which row it is, in the order of the batch: sorting moves these, not the rows.
    order: Vec<(Timestamp, usize)>,
}

/// An event without its texts and its time.
#[derive(Debug, PartialEq)]
struct Row {
    /// Where its texts begin.
    start: usize,
    /// The bytes of each.
    lengths: [u32; 4],
    status: u16,
    response_micros: u64,
    request_bytes: u64,
    response_bytes: u64,
    client_ip: Option<IpAddr>,
}

impl UsageBatch {
    pub fn push(&mut self, event: &UsageEvent<'_>) {
        let texts = [event.key_id, event.request_id, event.method, event.endpoint];
        let UsageEvent { status, timestamp, response_micros, request_bytes, response_bytes, client_ip, .. } = *event;
        let lengths = texts.map(|text| u32::try_from(text.len()).expect("a text of a request fits 32 bits"));
        let start = self.texts.len();
        self.texts.extend(texts);
        self.order.push((timestamp, self.rows.len()));
        self.rows.push(Row { start, lengths, status, response_micros, request_bytes, response_bytes, client_ip });
    }

    /// Takes out all events. The room they took is kept.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.rows.clear();
        self.order.clear();
    }

    /// By their arrival: a store takes rows faster when they come as its index on time stands.
    pub fn sort(&mut self) {
        self.order.sort_unstable();
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = UsageEvent<'_>> {
        (0..self.rows.len()).map(|number| self.get(number))
    }

    /// Counted from 0.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn get(&self, number: usize) -> UsageEvent<'_> {
        let (timestamp, place) = self.order[number];
        let row = &self.rows[place];
        let mut rest = &self.texts[row.start..];
        let [key_id, request_id, method, endpoint] = row.lengths.map(|length| {
            let (text, after) = rest.split_at(length as usize);
            rest = after;
            text
        });
        let Row { status, response_micros, request_bytes, response_bytes, client_ip, .. } = *row;
        UsageEvent {
            key_id,
            request_id,
            method,
            endpoint,
            status,
            timestamp,
            response_micros,
            request_bytes,
            response_bytes,
            client_ip,
        }
    }
}

impl<'a> FromIterator<UsageEvent<'a>> for UsageBatch {
    fn from_iter<I: IntoIterator<Item = UsageEvent<'a>>>(events: I) -> Self {
        let mut batch = Self::default();
        events.into_iter().for_each(|event| batch.push(&event));
        batch
    }
}
