//! A worker's own end of the journal: a buffer that one thread fills and the writer now and then takes away.
//!
//! What must stay true here: recording allocates nothing once the buffers have grown, asks nobody for the time, waits for nothing
//! but the swap of two buffers, and wakes the writer only when it may be asleep.

use std::sync::{Arc, Mutex};
use std::thread::Thread;

use super::record::{self, MAX_RECORD};
use crate::model::usage_event::UsageEvent;

/// Bytes that may wait for a stuck disk, for each worker.
const LANE_MAX: usize = 4 * 1024 * 1024;

/// For one worker. Clones share its buffer.
#[derive(Clone, Debug)]
pub struct Recorder {
    lane: Arc<Lane>,
    writer: Thread,
}

impl Recorder {
    pub(super) fn new(lane: Arc<Lane>, writer: Thread) -> Self {
        Self { lane, writer }
    }

    /// Takes note of a request. A few milliseconds later it is in the journal; while the disk is stuck, the newest are kept.
    pub fn record(&self, event: &UsageEvent<'_>) {
        if self.lane.push(event) {
            self.writer.unpark();
        }
    }
}

/// Records on their way from one worker to the writer.
#[derive(Debug, Default)]
pub(super) struct Lane(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    count: Count,
}

/// What was taken out of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Records in the bytes.
    pub records: u64,
    /// Records that were thrown away because the writer did not come.
    pub lost: u64,
}

impl Lane {
    /// True when it was empty before.
    fn push(&self, event: &UsageEvent<'_>) -> bool {
        let mut waiting = self.0.lock().expect("no panic while it is held");
        let was_empty = waiting.bytes.is_empty();
        if waiting.bytes.len() + MAX_RECORD > LANE_MAX {
            waiting.bytes.clear();
            waiting.count.lost += std::mem::take(&mut waiting.count.records);
        }
        record::encode(event, &mut waiting.bytes);
        waiting.count.records += 1;
        was_empty
    }

    /// Swaps what waits for an empty buffer.
    pub fn take(&self, empty: &mut Vec<u8>) -> Count {
        let mut waiting = self.0.lock().expect("no panic while it is held");
        std::mem::swap(&mut waiting.bytes, empty);
        std::mem::take(&mut waiting.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::usage::samples::{encoded, event};

    #[test]
    fn records_are_taken_once_and_as_they_were_recorded() {
        let lane = Lane::default();
        assert!(lane.push(&event(0)), "the writer may be asleep");
        assert!(!lane.push(&event(1)), "it was told");
        let mut bytes = Vec::new();
        assert_eq!(lane.take(&mut bytes), Count { records: 2, lost: 0 });
        assert_eq!(bytes, encoded(0..2));
        bytes.clear();
        assert_eq!(lane.take(&mut bytes), Count::default());
        assert!(bytes.is_empty() && lane.push(&event(2)));
    }

    #[test]
    fn a_stuck_disk_costs_bounded_memory_and_the_loss_is_counted() {
        let lane = Lane::default();
        let total = 3 * LANE_MAX / encoded(0..1).len();
        (0..total as u64).for_each(|number| {
            lane.push(&event(number));
        });
        let mut bytes = Vec::new();
        let count = lane.take(&mut bytes);
        assert!(bytes.capacity() <= 2 * LANE_MAX && count.lost > 0);
        assert_eq!(count.records + count.lost, total as u64);
        assert_eq!(bytes, encoded(count.lost..total as u64), "the newest are kept");
    }

    /// No check, a number to look at: `cargo test --release --lib recording -- --nocapture --ignored`.
    #[test]
    #[ignore = "a measurement"]
    fn the_time_recording_takes() {
        let recorder = Recorder::new(Arc::default(), std::thread::current());
        let (mut bytes, rounds) = (Vec::new(), 1000_u32);
        let start = clock::monotonic();
        for _ in 0..rounds {
            (0..1000).for_each(|number| recorder.record(&event(number)));
            bytes.clear();
            recorder.lane.take(&mut bytes);
        }
        eprintln!("{:?} for each record", start.elapsed() / rounds / 1000);
    }
}
