//! The latest requests that were refused, and why: what a client is not told, whoever runs the gateway may know.
//!
//! What must stay true here: only a refused request comes here, what is held is bounded, and nothing of a presented key is.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::ids::{KeyId, UserId};
use crate::model::timestamp::Timestamp;

/// Refusals that are held.
const HELD: usize = 4_096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequest {
    pub at: Timestamp,
    /// As the client was told.
    pub code: &'static str,
    pub status: u16,
    /// As it was: an invalid key is unknown, disabled, revoked or expired.
    pub reason: &'static str,
    /// The key that was presented, where there is such a one.
    pub key: Option<PresentedKey>,
    pub client_ip: Option<IpAddr>,
    pub method: String,
    /// Without its query; the first 256 bytes.
    pub path: String,
    /// `None`: it had come to none.
    pub route: Option<String>,
    pub request_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedKey {
    pub key_id: KeyId,
    pub user_id: UserId,
    pub name: String,
}

/// With its number, counted from 1 since the start.
pub type Numbered = (u64, Arc<RefusedRequest>);

#[derive(Debug, Default)]
pub struct RefusedRequests(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    held: VecDeque<Arc<RefusedRequest>>,
    /// Of the last one; 0: there was none.
    last: u64,
}

/// What there is after some number, the oldest first.
#[derive(Debug, PartialEq, Eq)]
pub struct News {
    pub refusals: Vec<Numbered>,
    /// Those in between that are held no more.
    pub missed: u64,
    /// To ask after next.
    pub last: u64,
}

impl RefusedRequests {
    pub fn note(&self, refusal: RefusedRequest) {
        let refusal = Arc::new(refusal);
        let mut latest = self.latest();
        latest.last += 1;
        latest.held.push_back(refusal);
        // What it pushes out is freed without the lock.
        let oldest = if latest.held.len() > HELD { latest.held.pop_front() } else { None };
        drop(latest);
        drop(oldest);
    }

    pub fn after(&self, number: u64) -> News {
        let latest = self.latest();
        let last = latest.last;
        // After a restart numbers begin anew.
        let number = if number > last { 0 } else { number };
        let first = last - latest.held.len() as u64 + 1;
        let skip = (number + 1).saturating_sub(first);
        let skipped = latest.held.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).cloned();
        let refusals = (first + skip..).zip(skipped).collect();
        News { refusals, missed: first.saturating_sub(number + 1), last }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.0.lock().expect("nothing panics while it holds the refusals")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(number: usize) -> RefusedRequest {
        RefusedRequest {
            at: Timestamp::default(),
            code: "missing_key",
            status: 401,
            reason: "missing_key",
            key: None,
            client_ip: None,
            method: "GET".to_owned(),
            path: format!("/{number}"),
            route: None,
            request_id: String::new(),
        }
    }

    fn paths(news: &News) -> Vec<String> {
        news.refusals.iter().map(|(number, refusal)| format!("{number}{}", refusal.path)).collect()
    }

    #[test]
    fn who_asks_after_the_last_number_hears_of_each_once() {
        let refusals = RefusedRequests::default();
        assert_eq!(refusals.after(0), News { refusals: Vec::new(), missed: 0, last: 0 });
        (1..=3).for_each(|number| refusals.note(refusal(number)));
        let news = refusals.after(1);
        assert_eq!((paths(&news), news.missed, news.last), (vec!["2/2".to_owned(), "3/3".to_owned()], 0, 3));
        assert_eq!(refusals.after(3).refusals, []);
        assert_eq!(paths(&refusals.after(99)).len(), 3, "the number is from before a restart");
    }

    #[test]
    fn a_flood_leaves_the_latest_and_tells_how_many_went() {
        let refusals = RefusedRequests::default();
        (1..=HELD + 10).for_each(|number| refusals.note(refusal(number)));
        let news = refusals.after(3);
        assert_eq!((news.refusals.len(), news.missed, news.last), (HELD, 7, HELD as u64 + 10));
        assert_eq!(paths(&news)[0], "11/11");
        assert_eq!(refusals.after(10).missed, 0);
    }
}
