//! Requests that were refused: many of one key or address, and those of a key that has ended. The ring of the latest tells.
//!
//! What must stay true here: it is read after the fact, and costs no request anything; what is counted is bounded.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::alert::Finding;
use super::teller::Teller;
use crate::clock;
use crate::config;
use crate::model::address::subscriber;
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::AlertKind;
use crate::observe::refusals::{Refusals, RefusedRequest};

/// The ring holds some thousands: at more refusals a second than that, some are not counted.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Keys and addresses that are counted at once.
const MOST: usize = 10_000;
/// Whom the gates refuse: those whose key, address or pace it is about.
const REFUSED: [u16; 3] = [401, 403, 429];

#[derive(Debug, Default)]
pub struct Refused {
    /// The number of the last one that was seen.
    seen: u64,
    bursts: Bursts,
}

impl Refused {
    pub fn look(&mut self, refusals: &Refusals, rules: &config::Alerts, teller: &Teller) {
        let unseen = refusals.since(self.seen);
        self.seen = unseen.latest;
        self.bursts.forget(clock::now(), rules.refusals_within);
        for (_, request) in unseen.refused.iter().filter(|(_, request)| REFUSED.contains(&request.status)) {
            if let Some(finding) = ended_key(request) {
                teller.found(&finding, rules);
            }
            if let Some(finding) = self.burst(request, rules) {
                teller.found(&finding, rules);
            }
        }
    }

    /// Counted for the key where it is known, else for the address.
    fn burst(&mut self, request: &RefusedRequest, rules: &config::Alerts) -> Option<Finding> {
        let (what, field, subject) = match &request.key {
            Some(key) => ("key", "key_id", key.key_id.to_string()),
            None => ("address", "address", subscriber(request.client_ip?.to_canonical()).to_string()),
        };
        if !self.bursts.count(&subject, request.at, rules.refusals, rules.refusals_within) {
            return None;
        }
        let (count, seconds) = (rules.refusals, rules.refusals_within.as_secs_f64());
        let details = json!({ field: subject, "refusals": count, "within_seconds": seconds, "last_reason": request.reason });
        let summary = format!("{count} requests of {what} {subject} were refused within {seconds} s");
        Some(Finding { kind: AlertKind::RefusalBurst, subject, summary, details })
    }
}

fn ended_key(request: &RefusedRequest) -> Option<Finding> {
    let is_ended = ["revoked", "expired", "inactive"].contains(&request.reason);
    let key = request.key.as_ref().filter(|_| is_ended)?;
    let (key_id, reason) = (key.key_id.as_str(), request.reason);
    let address = request.client_ip.map(|address| address.to_string());
    let details =
        json!({ "key_id": key_id, "name": key.name, "user_id": key.user_id.as_str(), "reason": reason, "address": address });
    let summary = format!("key {key_id} is still used, but {reason}");
    Some(Finding { kind: AlertKind::EndedKeyUsed, subject: key_id.to_owned(), summary, details })
}

/// How many of each came since the first of its window.
#[derive(Debug, Default)]
struct Bursts(HashMap<String, (Timestamp, usize)>);

impl Bursts {
    /// Makes room: what began longer ago counts no more.
    fn forget(&mut self, now: Timestamp, within: Duration) {
        self.0.retain(|_, (since, _)| now.since(*since) < within);
    }

    /// One more. Whether they are `many` now; zero: never. Then counting begins anew.
    fn count(&mut self, subject: &str, now: Timestamp, many: usize, within: Duration) -> bool {
        if many == 0 {
            return false;
        }
        if self.0.len() >= MOST && !self.0.contains_key(subject) {
            return false;
        }
        let (since, count) = self.0.entry(subject.to_owned()).or_insert((now, 0));
        if now.since(*since) >= within {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        let is_burst = *count >= many;
        if is_burst {
            self.0.remove(subject);
        }
        is_burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn many_within_the_time_are_a_burst_and_the_same_over_a_longer_time_are_none() {
        let mut bursts = Bursts::default();
        let mut count = |subject: &str, seconds| bursts.count(subject, at(seconds), 3, MINUTE);
        assert_eq!([count("a", 0), count("b", 1), count("a", 2), count("a", 59)], [false, false, false, true]);
        assert_eq!([count("c", 0), count("c", 59), count("c", 60), count("c", 100)], [false; 4]);
        assert!(count("c", 119));
        assert!((0..10).all(|_| !bursts.count("d", at(0), 0, MINUTE)), "zero is never");
    }

    #[test]
    fn a_flood_of_addresses_ends_at_a_bound_and_makes_room_in_time() {
        let mut bursts = Bursts::default();
        assert!((0..=MOST).all(|number| !bursts.count(&number.to_string(), at(0), 2, MINUTE)));
        assert_eq!(bursts.0.len(), MOST);
        assert!(bursts.count("0", at(1), 2, MINUTE), "those that are counted go on");
        bursts.count("late", at(59), 2, MINUTE);
        bursts.forget(at(60), MINUTE);
        assert_eq!(bursts.0.keys().collect::<Vec<_>>(), ["late"]);
    }
}
