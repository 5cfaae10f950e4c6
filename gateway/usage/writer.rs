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

impl Shared {
    fn run(&self, mut journal: Journal) {
        let mut spare = Vec::new();
        loop {
            let is_ending = self.ending.load(Ordering::Acquire);
            let found_some = self.collect(&mut journal, &mut spare);
            if is_ending {
                return;
            }
            if !found_some {
                thread::park();
            }
            thread::sleep(GATHER);
        }
    }

    /// Writes what all workers have. `spare` comes and goes empty. False: they had nothing.
    fn collect(&self, journal: &mut Journal, spare: &mut Vec<u8>) -> bool {
        let lanes = self.lanes.lock().expect("no panic while it is held").clone();
        let mut found_some = false;
        for lane in lanes {
            let count = lane.take(spare);
            if spare.is_empty() {
                continue;
            }
            found_some = true;
            self.metrics.usage_recorded.add(count.records + count.lost);
            self.backlog.lost(count.lost, &"the disk was too slow for the journal");
            journal.append(spare, count.records);
            spare.clear();
        }
        found_some
    }
}
