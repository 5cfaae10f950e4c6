//! What an HTTP/2 connection is waiting for, besides its streams, each of which has its own deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::clock::{self, millis};
use crate::config::Server;

/// Written by the connection's own tasks, never by two at a time; the atomics are there to be shared.
pub struct Activity {
    opened: Instant,
    has_begun: AtomicBool,
    streams: AtomicUsize,
    /// Pieces of answers that wait for the client to take them, their streams' tasks over or not.
    untaken: AtomicUsize,
    /// Milliseconds since `opened`: when the last stream ended, the last piece went, or the preface came.
    idle_since: AtomicU64,
    /// Since when a head has been coming, 0 when none is.
    head_since: AtomicU64,
    /// Since when the client has not taken what is written; 0 when it does.
    write_blocked: AtomicU64,
}

/// What lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The preface or a head does not come to its end.
    Begin,
    /// The client does not read.
    Write,
    /// There has been no stream.
    Idle,
}

/// Counts as a stream until it is dropped.
pub struct OpenStream(Arc<Activity>);

/// Counts as a piece of an answer until it is dropped.
pub struct Untaken(Arc<Activity>);

impl Activity {
    pub fn new(opened: Instant) -> Self {
        Self {
            opened,
            has_begun: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
            untaken: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            write_blocked: AtomicU64::new(0),
        }
    }

    pub fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }

    pub fn hand_over(self: &Arc<Self>) -> Untaken {
        self.untaken.fetch_add(1, Ordering::Relaxed);
        Untaken(Arc::clone(self))
    }

    /// Since when there has been no stream, and nothing of one that is still to be taken.
    pub fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.streams.load(Ordering::Relaxed) == 0 && self.untaken.load(Ordering::Relaxed) == 0;
        is_idle.then(|| self.opened + Duration::from_millis(self.idle_since.load(Ordering::Relaxed)))
    }

    /// What has come so far.
    pub fn received(&self, has_begun: bool, is_in_head: bool) {
        if has_begun && !self.has_begun.swap(true, Ordering::Relaxed) {
            self.idle_since.store(self.now(), Ordering::Relaxed);
        }
        set(&self.head_since, is_in_head, || self.now());
    }

    pub fn write_is_blocked(&self, blocked: bool) {
        set(&self.write_blocked, blocked, || self.now());
    }

    /// The first deadline. While there are streams, each has its own; after them, what the client has not taken keeps the
    /// connection for a while. Idleness has no end where the connection `ends` anyway.
    pub fn deadline(&self, rules: &Server, ends: bool) -> Option<(Instant, Late)> {
        let marked = |mark: &AtomicU64| Some(mark.load(Ordering::Relaxed)).filter(|&since| since > 0);
        let (begun, idle_since) = (self.has_begun.load(Ordering::Relaxed), self.idle_since.load(Ordering::Relaxed));
        let is_served = self.streams.load(Ordering::Relaxed) > 0;
        let is_taken = self.untaken.load(Ordering::Relaxed) == 0;
        let idle_since = if is_served { self.now() } else { idle_since };
        let waits = [
            (Some(0).filter(|_| !begun), rules.handshake_timeout, Late::Begin),
            (marked(&self.head_since).filter(|_| begun), rules.header_timeout, Late::Begin),
            (marked(&self.write_blocked), rules.write_timeout, Late::Write),
            (Some(idle_since).filter(|_| !is_served && !is_taken), rules.write_timeout, Late::Write),
            (Some(idle_since).filter(|_| begun && is_taken && !ends), rules.idle_timeout, Late::Idle),
        ];
        let ends = waits.into_iter().filter(|(_, limit, _)| !limit.is_zero());
        let first = ends.filter_map(|(since, limit, late)| Some((since? + millis(limit), late))).min_by_key(|(at, _)| *at);
        first.map(|(at, late)| (self.opened + Duration::from_millis(at), late))
    }

    /// Milliseconds since the connection was opened, never 0.
    fn now(&self) -> u64 {
        millis(clock::monotonic().saturating_duration_since(self.opened)).max(1)
    }
}

/// Keeps the first of several marks.
fn set(mark: &AtomicU64, holds: bool, now: impl Fn() -> u64) {
    match (holds, mark.load(Ordering::Relaxed)) {
        (true, 0) => mark.store(now(), Ordering::Relaxed),
        (false, 1..) => mark.store(0, Ordering::Relaxed),
        _ => {}
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.untaken.fetch_sub(1, Ordering::Relaxed);
    }
}
