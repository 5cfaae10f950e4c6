//! How fast, and how many at once: limits of each key, or of each client address where there is no key. Counted by this gateway
//! alone, so several gateways let through as many times more.
//!
//! What must stay true here:
//! - Over any time a subject gets at most `burst` and what `per_second` adds meanwhile, and never more than `concurrent` at once.
//! - A request that is refused takes nothing from the rate.
//! - What is remembered is bounded: of more subjects than fit, the least asked for are forgotten and begin anew.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use quick_cache::sync::Cache;

use crate::clock;
use crate::config::{Pace, Rate};
use crate::model::address::subscriber;
use crate::model::ids::KeyId;
use crate::observe::metrics::RouteLabel;

/// Subjects remembered, of all routes together: some 15 MB.
const CAPACITY: usize = 100_000;

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Key(KeyId),
    Address(IpAddr),
}

impl Subject {
    pub fn address(address: IpAddr) -> Self {
        Self::Address(subscriber(address))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMuch {
    TooFast,
    TooManyAtOnce,
}

/// What each subject has had of late. Shared by the workers.
#[derive(Debug)]
pub struct Paces {
    /// By the route, where it has a limit of its own; [`RouteLabel::NONE`] counts all others together.
    subjects: Cache<(RouteLabel, Subject), Arc<Bucket>>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Bucket {
    /// When all that was admitted has been made up for at the rate, in nanoseconds since the beginning (GCRA's theoretical arrival
    /// time).
    even_at: AtomicU64,
    running: AtomicU32,
}

/// A request under way, as long as it lives.
#[derive(Debug)]
pub struct Slot(Arc<Bucket>);

impl Default for Paces {
    fn default() -> Self {
        Self { subjects: Cache::new(CAPACITY), began: clock::monotonic() }
    }
}

impl Paces {
    /// Admits a request at `now`, or says why not. `scope` is the route whose limit `pace` is. The slot is to be kept until the
    /// request has ended.
    pub fn enter(&self, scope: RouteLabel, subject: Subject, pace: &Pace, now: Instant) -> Result<Option<Slot>, TooMuch> {
        let made = self.subjects.get_or_insert_with(&(scope, subject), || Ok::<_, std::convert::Infallible>(Arc::default()));
        let Ok(bucket) = made;
        let slot = match pace.concurrent {
            Some(limit) => Some(Slot::of(&bucket, limit).ok_or(TooMuch::TooManyAtOnce)?),
            None => None,
        };
        let nanos = u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX / 2);
        match pace.rate.is_none_or(|rate| bucket.take(rate, nanos)) {
            true => Ok(slot),
            false => Err(TooMuch::TooFast),
        }
    }
}

impl Bucket {
    fn take(&self, rate: Rate, now: u64) -> bool {
        let each = 1_000_000_000 / u64::from(rate.per_second.get());
        let ahead = each * u64::from(rate.burst.get() - 1);
        let next = |even_at: u64| (even_at <= now + ahead).then(|| even_at.max(now) + each);
        self.even_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Slot {
    fn of(bucket: &Arc<Bucket>, limit: NonZeroU32) -> Option<Self> {
        let next = |running: u32| (running < limit.get()).then_some(running + 1);
        bucket.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(Self(Arc::clone(bucket)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn pace(per_second: u32, burst: u32, concurrent: u32) -> Pace {
        let rate = NonZeroU32::new(per_second).map(|per_second| Rate { per_second, burst: NonZeroU32::new(burst).unwrap() });
        Pace { rate, concurrent: NonZeroU32::new(concurrent) }
    }

    fn enter(paces: &Paces, address: &str, pace: &Pace, now: Instant) -> Result<Option<Slot>, TooMuch> {
        paces.enter(RouteLabel::NONE, Subject::address(address.parse().unwrap()), pace, now)
    }

    #[test]
    fn a_burst_is_admitted_at_once_and_then_the_rate() {
        let (paces, pace) = (Paces::default(), pace(10, 3, 0));
        let admitted = |at: u64| {
            (0..5).filter(|_| enter(&paces, "192.0.2.1", &pace, paces.began + Duration::from_millis(at)).is_ok()).count()
        };
        assert_eq!([0, 99, 100, 250, 10_000].map(admitted), [3, 0, 1, 1, 3]);
    }

    #[test]
    fn so_many_run_at_once_and_the_end_of_one_makes_room() {
        let (paces, pace) = (Paces::default(), pace(0, 1, 2));
        let mut slots: Vec<_> = (0..2).map(|_| enter(&paces, "192.0.2.1", &pace, paces.began).unwrap()).collect();
        assert_eq!(enter(&paces, "192.0.2.1", &pace, paces.began).unwrap_err(), TooMuch::TooManyAtOnce);
        slots.pop();
        enter(&paces, "192.0.2.1", &pace, paces.began).unwrap();
    }

    #[test]
    fn who_is_refused_for_running_too_many_spends_nothing_and_who_is_too_fast_holds_no_slot() {
        let (paces, pace) = (Paces::default(), pace(1, 2, 1));
        let slot = enter(&paces, "192.0.2.1", &pace, paces.began).unwrap();
        assert_eq!(enter(&paces, "192.0.2.1", &pace, paces.began).unwrap_err(), TooMuch::TooManyAtOnce);
        drop(slot);
        drop(enter(&paces, "192.0.2.1", &pace, paces.began).unwrap());
        assert_eq!(enter(&paces, "192.0.2.1", &pace, paces.began).unwrap_err(), TooMuch::TooFast);
        let later = paces.began + Duration::from_secs(1);
        enter(&paces, "192.0.2.1", &pace, later).unwrap();
    }

    #[test]
    fn each_subject_has_its_own_and_a_subscriber_is_one() {
        let (paces, pace) = (Paces::default(), pace(1, 1, 0));
        let is_new = |subject: Subject| paces.enter(RouteLabel::NONE, subject, &pace, paces.began).is_ok();
        assert!(is_new(Subject::Key("key_1".into())) && is_new(Subject::Key("key_2".into())));
        assert!(!is_new(Subject::Key("key_1".into())));
        let address = |text: &str| Subject::address(text.parse().unwrap());
        assert!(is_new(address("192.0.2.1")) && is_new(address("192.0.2.2")));
        assert!(is_new(address("2001:db8:0:1::1")) && is_new(address("2001:db8:0:2::1")));
        assert!(!is_new(address("2001:db8:0:1:ffff::2")), "one subscriber has a /64");
    }

    #[test]
    fn of_many_subjects_no_more_than_fit_are_remembered() {
        let (paces, pace) = (Paces::default(), pace(1, 1, 0));
        for number in 0..2 * u32::try_from(CAPACITY).unwrap() {
            let _ = paces.enter(RouteLabel::NONE, Subject::Address(IpAddr::from(number.to_be_bytes())), &pace, paces.began);
        }
        assert!(paces.subjects.len() <= CAPACITY);
    }

    #[test]
    fn many_threads_together_get_no_more_than_one_would() {
        let (paces, pace) = (Paces::default(), pace(1, 100, 0));
        let admitted = || (0..100).filter(|_| enter(&paces, "192.0.2.1", &pace, paces.began).is_ok()).count();
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(admitted)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 100);
    }

    proptest! {
        /// However requests come, also with clocks of several threads that lag behind each other.
        #[test]
        fn over_any_time_it_is_at_most_the_burst_and_what_the_rate_adds(
            per_second in 1_u32..2000, burst in 1_u32..50, steps in proptest::collection::vec(0_u64..20_000, 1..300), lag in 0_u64..5_000
        ) {
            let (paces, pace) = (Paces::default(), pace(per_second, burst, 0));
            let (mut micros, mut admitted) = (10_000, Vec::new());
            for (count, step) in steps.into_iter().enumerate() {
                micros += step;
                let now = if count % 3 == 0 { micros - lag } else { micros };
                if enter(&paces, "192.0.2.1", &pace, paces.began + Duration::from_micros(now)).is_ok() {
                    admitted.push(micros);
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, until) in admitted.iter().enumerate().skip(first) {
                    let count = u64::try_from(last - first + 1).unwrap();
                    let most = 1_000_000 * u64::from(burst) + (until - from + lag) * u64::from(per_second);
                    // Intervals are whole nanoseconds.
                    let rounding = 100_000;
                    prop_assert!(1_000_000 * count <= most + rounding, "{count} in {} us", until - from);
                }
            }
        }
    }
}
