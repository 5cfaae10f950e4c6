//! Every usage record that is given up is counted, and said in the log: a burst of losses in few lines.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock;
use crate::observe::metrics::Metrics;

/// From one line to the next, at least.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Losses {
    metrics: Arc<Metrics>,
    burst: Mutex<Burst>,
}

#[derive(Debug, Default)]
struct Burst {
    unreported: u64,
    reported_at: Option<Instant>,
}

impl Losses {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, burst: Mutex::default() }
    }

    /// `why` follows "dropped:" in the log.
    pub fn count(&self, records: u64, why: &dyn Display) {
        if records == 0 {
            return;
        }
        self.metrics.usage_dropped.add(records);
        let due = self.burst.lock().expect("no panic while it is held").add(records, clock::monotonic());
        if let Some(records) = due {
            tracing::error!(records, "usage records were dropped: {why}");
        }
    }
}

impl Burst {
    /// How many to report now, if it is time to.
    fn add(&mut self, records: u64, now: Instant) -> Option<u64> {
        self.unreported += records;
        if self.reported_at.is_some_and(|at| now.saturating_duration_since(at) < REPORT_INTERVAL) {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_losses_is_told_at_once_and_then_in_sums() {
        let mut burst = Burst::default();
        let start = clock::monotonic();
        assert_eq!(burst.add(3, start), Some(3));
        assert_eq!(burst.add(4, start + Duration::from_secs(1)), None);
        assert_eq!(burst.add(5, start + Duration::from_secs(9)), None);
        assert_eq!(burst.add(6, start + REPORT_INTERVAL), Some(15));
    }
}
