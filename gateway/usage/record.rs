//! One request as bytes in the journal: length (4 bytes), CRC-32 of what follows (4), then the event. Little-endian.
//!
//! What must stay true here: an event reads back as it was written, or not at all. The length of a record cannot be spelled in
//! characters that stand in a path or a header, so nothing a client sends can pass for a record, even where a real one is damaged.

use std::net::IpAddr;

use crate::model::timestamp::Timestamp;
use crate::model::usage_event::{MAX_ENDPOINT_BYTES, UsageEvent};

/// Length and checksum.
const HEAD: usize = 8;
/// Four counts, the status, the kind of address, and the lengths of four texts.
const MIN_PAYLOAD: usize = 4 * 8 + 2 + 1 + 4 * 2;
const MAX_PAYLOAD: usize = MIN_PAYLOAD + 16 + 4 * MAX_ENDPOINT_BYTES;
/// No record is longer, in bytes.
pub const MAX_RECORD: usize = HEAD + MAX_PAYLOAD;

/// Appends the event. A text longer than [`MAX_ENDPOINT_BYTES`] loses its end.
pub fn encode(event: &UsageEvent<'_>, into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; HEAD]);
    for count in [event.timestamp.as_millis(), event.response_micros, event.request_bytes, event.response_bytes] {
        into.extend_from_slice(&count.to_le_bytes());
    }
    into.extend_from_slice(&event.status.to_le_bytes());
    match event.client_ip {
        None => into.push(0),
        Some(IpAddr::V4(v4)) => push_tagged(into, 4, &v4.octets()),
        Some(IpAddr::V6(v6)) => push_tagged(into, 6, &v6.octets()),
    }
    for text in [event.key_id, event.request_id, event.method, event.endpoint] {
        let kept = &text[..text.floor_char_boundary(MAX_ENDPOINT_BYTES)];
        let length = u16::try_from(kept.len()).expect("MAX_ENDPOINT_BYTES fits 16 bits");
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(kept.as_bytes());
    }
    let payload = &into[start + HEAD..];
    let length = u32::try_from(payload.len()).expect("MAX_PAYLOAD fits 32 bits");
    let checksum = crc32fast::hash(payload);
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    into[start + 4..start + HEAD].copy_from_slice(&checksum.to_le_bytes());
}

/// What stands at the start of some bytes of a journal.
#[derive(Debug, PartialEq)]
pub enum Record<'a> {
    Whole {
        event: UsageEvent<'a>,
        size: usize,
    },
    /// Not as it was written, but its length leads on to what may be the next record.
    Damaged {
        size: usize,
    },
    /// No record, or not the whole of one: where the next begins cannot be known.
    Broken,
}

pub fn first(bytes: &[u8]) -> Record<'_> {
    let Some((length, rest)) = split_number(bytes) else { return Record::Broken };
    let Some((checksum, rest)) = split_number(rest) else { return Record::Broken };
    let length = length as usize;
    if !(MIN_PAYLOAD..=MAX_PAYLOAD).contains(&length) || rest.len() < length {
        return Record::Broken;
    }
    let (payload, size) = (&rest[..length], HEAD + length);
    let event = if crc32fast::hash(payload) == checksum { decode(payload) } else { None };
    event.map_or(Record::Damaged { size }, |event| Record::Whole { event, size })
}

fn split_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u32::from_le_bytes(*number), rest))
}

fn push_tagged(into: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    into.push(tag);
    into.extend_from_slice(bytes);
}

fn decode(payload: &[u8]) -> Option<UsageEvent<'_>> {
    let mut rest = payload;
    let event = UsageEvent {
        timestamp: Timestamp::from_millis(u64::from_le_bytes(*take(&mut rest)?)),
        response_micros: u64::from_le_bytes(*take(&mut rest)?),
        request_bytes: u64::from_le_bytes(*take(&mut rest)?),
        response_bytes: u64::from_le_bytes(*take(&mut rest)?),
        status: u16::from_le_bytes(*take(&mut rest)?),
        client_ip: match take(&mut rest)? {
            [0] => None,
            [4] => Some(IpAddr::from(*take::<4>(&mut rest)?)),
            [6] => Some(IpAddr::from(*take::<16>(&mut rest)?)),
            _ => return None,
        },
        key_id: take_text(&mut rest)?,
        request_id: take_text(&mut rest)?,
        method: take_text(&mut rest)?,
        endpoint: take_text(&mut rest)?,
    };
    rest.is_empty().then_some(event)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(taken)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_le_bytes(*take(rest)?) as usize;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usage::samples::{any_event, event, only};

    #[test]
    fn a_text_too_long_is_cut_between_characters() {
        let endpoint = "é".repeat(MAX_ENDPOINT_BYTES);
        let mut bytes = Vec::new();
        encode(&UsageEvent { endpoint: &endpoint, ..event(1) }, &mut bytes);
        let Record::Whole { event, .. } = first(&bytes) else { panic!("a whole record") };
        assert_eq!(event.endpoint, "é".repeat(MAX_ENDPOINT_BYTES / 2));
    }

    #[test]
    fn the_longest_event_fits_the_bound_and_reads_back() {
        let text = "x".repeat(MAX_ENDPOINT_BYTES);
        let client_ip = Some("2001:db8::1".parse().unwrap());
        let event = UsageEvent { key_id: &text, request_id: &text, method: &text, endpoint: &text, client_ip, ..event(1) };
        let mut bytes = Vec::new();
        encode(&event, &mut bytes);
        assert_eq!(bytes.len(), MAX_RECORD);
        assert_eq!(first(&bytes), Record::Whole { event, size: MAX_RECORD });
    }

    #[test]
    fn zeros_and_printable_text_are_no_records() {
        assert_eq!(first(&vec![0; 2 * MAX_RECORD]), Record::Broken);
        assert_eq!(first(&vec![b'!'; 2 * MAX_RECORD]), Record::Broken);
    }

    proptest! {
        #[test]
        fn an_event_reads_back_as_it_was_written(row in any_event(), before in 0_usize..9) {
            let mut bytes = vec![7; before];
            encode(&only(&row), &mut bytes);
            let size = bytes.len() - before;
            bytes.push(9);
            prop_assert_eq!(first(&bytes[before..]), Record::Whole { event: only(&row), size });
        }

        #[test]
        fn a_changed_or_cut_record_is_never_taken_for_whole(row in any_event(), at in any::<prop::sample::Index>(), bits in 1_u8..) {
            let mut bytes = Vec::new();
            encode(&only(&row), &mut bytes);
            let at = at.index(bytes.len());
            prop_assert_eq!(first(&bytes[..at]), Record::Broken);
            bytes[at] ^= bits;
            let is_whole = matches!(first(&bytes), Record::Whole { .. });
            prop_assert!(!is_whole);
        }
    }
}
