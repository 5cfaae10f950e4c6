//! The latest requests that were refused, and why: for operators, who may know more of it than the client was told.
//!
//! What must stay true here: nothing of what was presented is kept, a key is named by its id; and a flood of refusals takes no
//! more than [`KEPT`] of them in memory, each bounded, and holds nobody up for longer than it takes to move a pointer.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use super::metrics::RouteLabel;
use crate::model::ids::{KeyId, UserId};
use crate::model::timestamp::Timestamp;

/// How many are kept; the oldest makes room for the next.
pub const KEPT: usize = 4_000;
/// Of a path or a method, in bytes; clients choose them.
const LONGEST_TEXT: usize = 256;

#[derive(Clone, Debug)]
pub struct RefusedRequest {
    pub at: Timestamp,
    /// As the client was told.
    pub code: &'static str,
    /// What it truly was.
    pub reason: &'static str,
    pub status: u16,
    /// `None` where none was presented, or none that is known.
    pub key: Option<RefusedKey>,
    pub client_ip: Option<IpAddr>,
    pub method: String,
    /// Without its query.
    pub path: String,
    pub route: RouteLabel,
    pub request_id: String,
}

#[derive(Clone, Debug)]
pub struct RefusedKey {
    pub key_id: KeyId,
    pub user_id: UserId,
    pub name: String,
}

/// Those of one process, in the order of their numbers. A number is never given twice, not by the next process either.
#[derive(Debug)]
pub struct Refusals {
    first: u64,
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// The number of the next one.
    next: u64,
    kept: VecDeque<Arc<RefusedRequest>>,
}

/// What a reader has not seen yet.
#[derive(Debug)]
pub struct Unseen {
    /// With their numbers, the oldest first.
    pub refused: Vec<(u64, Arc<RefusedRequest>)>,
    /// How many had made room for others before they were asked for.
    pub missed: u64,
    /// To be asked with next.
    pub latest: u64,
}

impl Refusals {
    /// Numbers begin with the time, in microseconds, so that those of the process before are lower.
    pub fn new(now: Timestamp) -> Self {
        let first = now.as_millis() * 1000;
        Self { first, ring: Mutex::new(Ring { next: first, kept: VecDeque::new() }) }
    }

    pub fn push(&self, refused: RefusedRequest) {
        let refused = Arc::new(refused);
        let mut ring = self.ring();
        ring.next += 1;
        let oldest = if ring.kept.len() < KEPT { None } else { ring.kept.pop_front() };
        ring.kept.push_back(refused);
        // Freed after the others may go on.
        drop(ring);
        drop(oldest);
    }

    /// Those with a number above `after`; 0: all that are kept.
    pub fn since(&self, after: u64) -> Unseen {
        let ring = self.ring();
        let oldest = ring.next - ring.kept.len() as u64;
        let wanted = after.saturating_add(1).clamp(self.first, ring.next);
        let begin = wanted.max(oldest);
        let seen = usize::try_from(begin - oldest).expect("no more than are kept");
        let refused = (begin..).zip(ring.kept.iter().skip(seen).cloned()).collect();
        Unseen { refused, missed: begin - wanted, latest: ring.next - 1 }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("nothing panics while it holds the refusals")
    }
}

/// The beginning of a text that a client chose.
pub fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str) -> RefusedRequest {
        RefusedRequest {
            at: Timestamp::from_secs(1),
            code: "invalid_key",
            reason: "expired",
            status: 401,
            key: None,
            client_ip: None,
            method: "GET".to_owned(),
            path: bounded(path),
            route: RouteLabel::NONE,
            request_id: String::new(),
        }
    }

    fn paths(unseen: &Unseen) -> Vec<&str> {
        unseen.refused.iter().map(|(_, refused)| refused.path.as_str()).collect()
    }

    #[test]
    fn who_asks_again_is_told_each_once() {
        let refusals = Refusals::new(Timestamp::from_secs(1));
        assert!(refusals.since(0).refused.is_empty());
        for path in ["/a", "/b"] {
            refusals.push(refused(path));
        }
        let first = refusals.since(0);
        assert_eq!((paths(&first), first.missed), (vec!["/a", "/b"], 0));
        assert_eq!(first.refused.last().map(|(number, _)| *number), Some(first.latest));
        refusals.push(refused("/c"));
        let second = refusals.since(first.latest);
        assert_eq!((paths(&second), second.missed), (vec!["/c"], 0));
        assert!(refusals.since(second.latest).refused.is_empty());
    }

    #[test]
    fn a_flood_keeps_the_latest_and_says_how_many_were_missed() {
        let refusals = Refusals::new(Timestamp::from_secs(1));
        refusals.push(refused("/seen"));
        let seen = refusals.since(0).latest;
        (0..KEPT + 5).for_each(|number| refusals.push(refused(&format!("/{number}"))));
        let unseen = refusals.since(seen);
        assert_eq!((unseen.refused.len(), unseen.missed), (KEPT, 5));
        assert_eq!((paths(&unseen)[0], paths(&unseen)[KEPT - 1]), ("/5", format!("/{}", KEPT + 4).as_str()));
    }

    #[test]
    fn a_reader_from_before_a_restart_is_told_of_everything_since() {
        let before = Refusals::new(Timestamp::from_secs(1));
        (0..10).for_each(|_| before.push(refused("/before")));
        let after = Refusals::new(Timestamp::from_secs(2));
        after.push(refused("/after"));
        let unseen = after.since(before.since(0).latest);
        assert_eq!((paths(&unseen), unseen.missed), (vec!["/after"], 0));
        assert!(after.since(u64::MAX).refused.is_empty(), "a number that nobody gave");
    }

    #[test]
    fn a_text_of_a_client_is_cut_between_two_characters() {
        assert_eq!(bounded("/short"), "/short");
        assert_eq!(bounded(&"é".repeat(200)).len(), LONGEST_TEXT);
        assert_eq!(bounded(&format!("/{}", "é".repeat(200))).len(), LONGEST_TEXT - 1);
    }
}
