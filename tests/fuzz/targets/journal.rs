//! Segments of the usage journal. The bytes: what happens to a segment on its disk, three bytes for each change; then what is
//! written over its end.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use hokusai_gateway::model::timestamp::Timestamp;
use hokusai_gateway::model::usage_event::{UsageBatch, UsageEvent};
use hokusai_gateway::usage::record::{Record, encode, first};
use hokusai_gateway::usage::segment::{START, Stretch, read};

static WRITTEN: LazyLock<Vec<UsageBatch>> = LazyLock::new(|| (0..6).map(batch).collect());
/// What of a segment stands behind its head.
static RECORDS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut records = Vec::new();
    WRITTEN.iter().flat_map(UsageBatch::iter).for_each(|event| encode(&event, &mut records));
    records
});

/// What is read was written so, in this order; reading comes to the end; and it does not matter in how many steps.
pub fn holds(bytes: &[u8]) {
    let (changes, surplus) = bytes.split_at(bytes.first().map_or(0, |&count| 1 + 3 * usize::from(count % 8)).min(bytes.len()));
    let mut records = RECORDS.clone();
    for change in changes.iter().skip(1).copied().collect::<Vec<_>>().chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % (records.len() + 1);
        match (change[2], records.get_mut(at)) {
            (0, _) => records.truncate(at),
            (bits, Some(byte)) => *byte ^= bits,
            _ => {}
        }
    }
    records.extend_from_slice(surplus);
    let (rows, damaged) = read_in_steps_of(1, &records);
    assert_eq!((&rows, damaged), (&read_in_steps_of(u64::MAX, &records).0, damaged));
    let mut written = WRITTEN.iter();
    for row in rows.iter().filter(|row| !stands_in(surplus, row)) {
        assert!(written.any(|batch| batch.iter().eq([row])), "{row:?} was not written");
    }
    if records == *RECORDS {
        assert_eq!((rows.len(), damaged), (WRITTEN.len(), 0));
    }
}

/// Whoever can write whole records, checksum and all, can write what he likes.
fn stands_in(surplus: &[u8], row: &UsageEvent<'_>) -> bool {
    (0..surplus.len()).any(|at| matches!(first(&surplus[at..]), Record::Whole { event, .. } if event == *row))
}

fn read_in_steps_of(max: u64, records: &[u8]) -> (UsageBatch, u64) {
    let file = segment(records);
    let to = START + records.len() as u64;
    let (mut from, mut rows, mut damaged) = (START, UsageBatch::default(), 0);
    while from < to {
        let stretch: Stretch = read(&file, from, to, max, &mut |event| rows.push(event)).expect("it is there");
        assert!(stretch.end > from && stretch.end <= to, "each reading comes further");
        (from, damaged) = (stretch.end, damaged + stretch.damaged);
    }
    (rows, damaged)
}

fn segment(records: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all_at(records, START).expect("it can be written to");
    file.flush().expect("it can be written to");
    file
}

fn batch(number: u8) -> UsageBatch {
    let endpoint = "/é".repeat(usize::from(number) * 7);
    let event = UsageEvent {
        key_id: "key_0123456789abcdef01234567",
        request_id: "0b7a1a4e-4b0f-4f7e-9d3c-2f0f6f1f2a3b",
        method: ["GET", "", "POST"][usize::from(number) % 3],
        endpoint: &endpoint,
        status: 200 + u16::from(number),
        timestamp: Timestamp::from_secs(1_795_341_600),
        response_micros: 1234,
        request_bytes: 0,
        response_bytes: u64::from(number),
        client_ip: [None, Some([10, 0, 0, 1].into()), Some("2001:db8::1".parse().expect("an address"))][usize::from(number) % 3],
    };
    [event].into_iter().collect()
}
