//! What a client's connection waits for, since when, and which deadline comes first.
//!
//! What must stay true here: whoever waits for something says so here when the wait begins, so that one timer per connection
//! serves every deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Client;
use crate::clock::{self, millis};
use crate::config::Server;

/// A phase that has just begun.
const UNTIMED: u64 = u64::MAX;

/// What the client's side of the connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Accepted; not a byte yet.
    Fresh,
    /// Between requests.
    Idle,
    /// A request's head has begun.
    Head,
    /// A request is being answered.
    Busy,
}

/// Whose slowness ends the connection, or its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Nothing came, or no next request: there is nobody to answer.
    Silence,
    /// A head that does not end.
    Head,
    /// The client does not read.
    Write,
    /// The upstream stopped in the middle of its answer.
    Upstream,
    /// Nobody: there has been no request for long enough that the connection may rest.
    Rest,
}

impl Client {
    pub fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Relaxed);
        [Phase::Fresh, Phase::Idle, Phase::Head].into_iter().find(|&known| known as u8 == phase).unwrap_or(Phase::Busy)
    }

    /// A wait on the client begins.
    pub fn enter(&self, phase: Phase, now: Instant) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.phase_since.store(self.millis_at(now), Ordering::Relaxed);
    }

    /// Bytes of the client came in.
    pub fn received(&self) {
        if matches!(self.phase(), Phase::Fresh | Phase::Idle) {
            self.phase.store(Phase::Head as u8, Ordering::Relaxed);
            self.phase_since.store(UNTIMED, Ordering::Relaxed);
        }
    }

    /// A head that is not whole with what came first is waited for from now on. Most are whole, and need no clock.
    pub fn time_head(&self) {
        if self.phase() == Phase::Head && self.phase_since.load(Ordering::Relaxed) == UNTIMED {
            self.enter(Phase::Head, clock::monotonic());
        }
    }

    /// Since when there is no request, once nothing is left to be written. Milliseconds since `opened`.
    pub fn idle_since(&self) -> Option<u64> {
        let idle = self.phase() == Phase::Idle && !self.is_being_answered();
        idle.then(|| self.phase_since.load(Ordering::Relaxed))
    }

    pub fn write_is_blocked(&self, blocked: bool) {
        match blocked {
            true => mark(&self.write_blocked, self.millis_at(clock::monotonic())),
            false => self.write_blocked.store(0, Ordering::Relaxed),
        }
    }

    /// The request waits for the head of an answer, and will itself say what follows when `patience` is over.
    pub fn await_head(&self, since: Instant, patience: Duration) {
        self.awaits_head.store(true, Ordering::Relaxed);
        self.upstream_patience.store(millis(patience), Ordering::Relaxed);
        self.upstream_silent.store(self.millis_at(since).max(1), Ordering::Relaxed);
    }

    /// Whether it waited for that in vain. Told once.
    pub fn head_is_overdue(&self) -> bool {
        self.awaits_head.load(Ordering::Relaxed) && self.upstream_silent.load(Ordering::Relaxed) == 0
    }

    /// The deadline has passed. False: nobody waits for the head, and the answer is cut.
    pub fn tell_overdue_head(&self) -> bool {
        self.upstream_silent.store(0, Ordering::Relaxed);
        self.awaits_head.load(Ordering::Relaxed)
    }

    /// The answer's body waits for the upstream, which may be silent for `patience` (zero: for ever).
    pub fn upstream_is_silent(&self, patience: Duration) {
        if self.upstream_silent.load(Ordering::Relaxed) == 0 {
            self.upstream_patience.store(millis(patience), Ordering::Relaxed);
            mark(&self.upstream_silent, self.millis_at(clock::monotonic()));
        }
    }

    pub fn upstream_has_spoken(&self) {
        self.awaits_head.store(false, Ordering::Relaxed);
        self.upstream_silent.store(0, Ordering::Relaxed);
    }

    /// The first deadline, and what has passed by then; `None` while nothing is bounded.
    pub fn deadline(&self, rules: &Server) -> Option<(Instant, Overdue)> {
        self.due(rules).map(|(at, what)| (self.at(at), what))
    }

    /// The same, in milliseconds since `opened`.
    pub fn due(&self, rules: &Server) -> Option<(u64, Overdue)> {
        const NEVER: u64 = u64::MAX;
        let mut first = (NEVER, Overdue::Silence);
        let mut bound = |since: u64, limit: u64, what| {
            let at = since.saturating_add(limit);
            if limit > 0 && at < first.0 {
                first = (at, what);
            }
        };
        let since = self.phase_since.load(Ordering::Relaxed);
        match self.phase() {
            Phase::Fresh => bound(since, millis(rules.handshake_timeout), Overdue::Silence),
            Phase::Idle => bound(since, millis(rules.idle_timeout), Overdue::Silence),
            Phase::Head => bound(since, millis(rules.header_timeout), Overdue::Head),
            Phase::Busy => {}
        }
        let (blocked, silent) = (self.write_blocked.load(Ordering::Relaxed), self.upstream_silent.load(Ordering::Relaxed));
        if blocked > 0 {
            bound(blocked, millis(rules.write_timeout), Overdue::Write);
        }
        if silent > 0 {
            bound(silent, self.upstream_patience.load(Ordering::Relaxed), Overdue::Upstream);
        }
        (first.0 < NEVER).then_some(first)
    }

    pub fn at(&self, millis: u64) -> Instant {
        self.opened + Duration::from_millis(millis)
    }

    /// Milliseconds since the connection was opened.
    pub fn millis_at(&self, instant: Instant) -> u64 {
        millis(instant.saturating_duration_since(self.opened))
    }
}

/// Keeps the first of several marks; a mark is never 0, which means none.
fn mark(at: &AtomicU64, now: u64) {
    if at.load(Ordering::Relaxed) == 0 {
        at.store(now.max(1), Ordering::Relaxed);
    }
}
