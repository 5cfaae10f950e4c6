//! Every metric, in one file.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Is set.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted off the request's path, by whoever knows.
#[derive(Debug, Default)]
pub struct Metrics {
    pub usage_recorded: Counter,
    pub usage_written: Counter,
    /// Records in the journal that are not in the store yet.
    pub usage_spooled: Gauge,
    pub usage_dropped: Counter,
    /// 1 when the last question to the store was answered.
    pub store_up: Gauge,
}
