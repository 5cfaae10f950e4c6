//! What this gateway itself lacks: the store, Redis, a journal that drains. Known from the metrics.
//!
//! What must stay true here: what lasts less than `outage_after` is not told; the end of what was told is.

use std::time::{Duration, Instant};

use serde_json::json;

use super::alert::Finding;
use super::teller::Teller;
use crate::clock;
use crate::config::Config;
use crate::observe::metrics::{AlertKind, Gauge, Metrics};

pub const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Outages {
    store: Outage,
    redis: Outage,
    journal: Outage,
    /// When it was looked at last.
    written: u64,
}

impl Outages {
    pub fn look(&mut self, metrics: &Metrics, config: &Config, teller: &Teller) {
        let (now, rules) = (clock::monotonic(), &config.alerts);
        let (spooled, written) = (metrics.usage_spooled.get(), metrics.usage_written.get());
        let is_stuck = spooled > 0 && written == self.written;
        self.written = written;
        let is_without_redis = metrics.redis_up.get().map(Gauge::get) == Some(0);
        let patience = rules.outage_after;
        // Between two flushes it is not stuck.
        let patience_with_journal = patience.max(config.usage.flush_interval.saturating_mul(2));
        let outages = [
            (
                self.store.look(metrics.store_up.get() == 0, now, patience),
                of_this(AlertKind::StoreDown, "the store cannot be asked"),
            ),
            (self.redis.look(is_without_redis, now, patience), of_this(AlertKind::RedisDown, "Redis cannot be asked")),
            (
                self.journal.look(is_stuck, now, patience_with_journal),
                Finding {
                    details: json!({ "records_waiting": spooled }),
                    ..of_this(AlertKind::UsageNotWritten, "usage is not written to the store")
                },
            ),
        ];
        for (standing, finding) in outages {
            match standing {
                Standing::Fine => teller.ended(finding.kind, rules),
                Standing::Short => {}
                Standing::Long => teller.found(&finding, rules),
            }
        }
    }
}

/// About this gateway.
fn of_this(kind: AlertKind, summary: &str) -> Finding {
    Finding { kind, subject: String::new(), summary: summary.to_owned(), details: json!({}) }
}

/// Since when it is there.
#[derive(Debug, Default)]
struct Outage(Option<Instant>);

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Fine,
    /// Not worth telling yet.
    Short,
    Long,
}

impl Outage {
    fn look(&mut self, is_there: bool, now: Instant, long: Duration) -> Standing {
        if !is_there {
            self.0 = None;
            return Standing::Fine;
        }
        let since = *self.0.get_or_insert(now);
        if now.duration_since(since) >= long { Standing::Long } else { Standing::Short }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_counts_once_it_has_lasted_and_a_short_one_never() {
        let (mut outage, begin) = (Outage::default(), clock::monotonic());
        let mut look = |is_there, seconds| outage.look(is_there, begin + Duration::from_secs(seconds), Duration::from_mins(1));
        assert_eq!([look(true, 0), look(true, 59), look(false, 60)], [Standing::Short, Standing::Short, Standing::Fine]);
        assert_eq!([look(true, 61), look(true, 120), look(true, 121)], [Standing::Short, Standing::Short, Standing::Long]);
        assert_eq!(look(false, 122), Standing::Fine);
    }
}
