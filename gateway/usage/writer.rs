//! The thread that takes what the workers recorded and hands it to the journal.
//!
//! What must stay true here: a record is with the kernel within ten milliseconds, so that killing the gateway costs nothing older;
//! and while nothing is recorded, the thread sleeps.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use super::backlog::Backlog;
use super::journal::Journal;
use super::recorder::{Lane, Recorder};
use crate::observe::metrics::Metrics;

/// From the first record to the write that takes it and all that came meanwhile. Most of what is promised, since a wake-up costs the
/// same however much there is to write; the rest is for the system's own delays.
const GATHER: Duration = Duration::from_millis(8);

/// Bytes that are written at once, as long as one worker alone has no more: what fails to be written is lost together.
const AT_ONCE: usize = 256 * 1024;

/// Dropped, it writes what was recorded until then, syncs it to the disk and returns.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    backlog: Arc<Backlog>,
    metrics: Arc<Metrics>,
    lanes: Mutex<Vec<Arc<Lane>>>,
    ending: AtomicBool,
}

impl Writer {
    pub fn start(journal: Journal, backlog: Arc<Backlog>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let shared = Arc::new(Shared { backlog, metrics, lanes: Mutex::default(), ending: AtomicBool::new(false) });
        let own = shared.clone();
        let thread = Builder::new().name("usage-journal".into()).spawn(move || own.run(journal))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// For one more worker.
    pub fn recorder(&self) -> Recorder {
        let lane = Arc::new(Lane::default());
        self.shared.lanes.lock().expect("no panic while it is held").push(lane.clone());
        let thread = self.thread.as_ref().expect("it runs until the writer is dropped");
        Recorder::new(lane, thread.thread().clone())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().expect("the journal's thread does not panic");
        }
    }
}

/// What was taken out of the lanes and is not written yet. Its buffers are used again.
#[derive(Default)]
struct Gathered {
    /// Of one lane.
    taken: Vec<u8>,
    bytes: Vec<u8>,
    records: u64,
}

impl Gathered {
    fn add(&mut self, records: u64) {
        self.bytes.append(&mut self.taken);
        self.records += records;
    }

    fn write(&mut self, journal: &mut Journal) {
        if !self.bytes.is_empty() {
            journal.append(&self.bytes, std::mem::take(&mut self.records));
            self.bytes.clear();
        }
    }
}

impl Shared {
    fn run(&self, mut journal: Journal) {
        let mut gathered = Gathered::default();
        loop {
            let is_ending = self.ending.load(Ordering::Acquire);
            let found_some = self.collect(&mut journal, &mut gathered);
            if is_ending {
                return;
            }
            if !found_some {
                thread::park();
            }
            thread::sleep(GATHER);
        }
    }

    /// Writes what all workers have, all at once mostly. False: they had nothing.
    fn collect(&self, journal: &mut Journal, gathered: &mut Gathered) -> bool {
        let mut found_some = false;
        for lane in self.lanes.lock().expect("no panic while it is held").iter() {
            let count = lane.take(&mut gathered.taken);
            found_some |= !gathered.taken.is_empty();
            self.metrics.usage_recorded.add(count.records + count.lost);
            self.backlog.lost(count.lost, &"the disk was too slow for the journal");
            if gathered.bytes.len() + gathered.taken.len() > AT_ONCE {
                gathered.write(journal);
            }
            gathered.add(count.records);
        }
        gathered.write(journal);
        found_some
    }
}

#[cfg(test)]
mod tests {
    use super::super::backlog::OLDEST;
    use super::super::samples::{encoded, event, numbers};
    use super::*;
    use crate::model::timestamp::Timestamp;

    #[test]
    fn what_all_workers_recorded_is_written_however_much_it_is() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Arc::<Metrics>::default());
        let backlog = Arc::new(Backlog::open(folder.path(), &metrics).unwrap());
        let journal = Journal::open(folder.path(), 1 << 30, backlog.clone()).unwrap();
        let writer = Writer::start(journal, backlog.clone(), metrics.clone()).unwrap();
        // Of each worker almost what is written at once.
        let of_each = (AT_ONCE * 3 / 4 / encoded(0..1).len()) as u64;
        for worker in 0..3 {
            let recorder = writer.recorder();
            (worker * of_each..(worker + 1) * of_each).for_each(|number| recorder.record(&event(number)));
        }
        drop(writer);
        let batch = backlog.take(OLDEST, u64::MAX, Timestamp::from_secs(0)).unwrap().expect("there are some");
        let mut written = numbers(&batch.rows);
        written.sort_unstable();
        assert_eq!(written, (0..3 * of_each).collect::<Vec<_>>());
        assert_eq!(metrics.usage_recorded.get(), 3 * of_each);
    }
}
