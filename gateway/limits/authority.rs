//! Who is asked for an hour's count: Redis where gateways share one, else the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::LEASES_AT_ONCE;
use super::fleet::Fleet;
use super::lease_file::LeftOver;
use super::redis::RedisHours;
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::lease::{LeaseAnswer, LeaseId, LeaseReply, LeaseRequest, News};
use crate::model::timestamp::Timestamp;
use crate::redis::{Redis, RedisError};
use crate::store::{Store, StoreError};

/// A gateway that has said nothing for this long is no longer counted.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Authority {
    /// Where there is one. The store still tells gateways of resets.
    redis: Option<RedisHours>,
    store: Store,
    /// The number of this gateway's last question.
    last_asked: AtomicU64,
}

/// Why the authority gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl Authority {
    pub fn new(store: Store, redis: Option<Arc<Redis>>) -> Self {
        Self { redis: redis.map(RedisHours::new), store, last_asked: AtomicU64::new(0) }
    }

    /// Now, and the requests admitted in this hour as far as gateways have told.
    pub async fn hour_usage(&self, key_id: &KeyId) -> Result<(Timestamp, u64), AuthorityError> {
        let now = clock::now();
        match &self.redis {
            None => Ok((now, self.store.hour_usage(key_id, now).await?)),
            Some(hours) => Ok(hours.hour_usage(key_id).await?),
        }
    }

    /// Starts the current hour of a key anew, on every gateway: every lease is void. `store` is ours, as who does it.
    pub async fn reset_hour(&self, key_id: &KeyId, store: &Store) -> Result<(), AuthorityError> {
        if let Some(hours) = &self.redis {
            hours.reset_hour(key_id).await?;
        }
        Ok(store.reset_hour(key_id).await?)
    }

    /// Takes back what the request returns, then grants what the hour allows.
    pub(super) async fn lease(
        &self,
        key_id: &KeyId,
        spool_id: &str,
        request: LeaseRequest,
    ) -> Result<LeaseAnswer, AuthorityError> {
        loop {
            let id = self.next_id();
            let reply = match &self.redis {
                None => self.store.lease(key_id, spool_id, id, request).await?,
                Some(hours) => hours.lease(key_id, spool_id, id, request).await?,
            };
            match reply {
                LeaseReply::Decided(answer) => return Ok(answer),
                // The clock was set back since an earlier run.
                LeaseReply::Late(last) => drop(self.last_asked.fetch_max(last.number(), Ordering::Relaxed)),
            }
        }
    }

    /// Writes down what became of leases, and what was admitted without any. Says of each whether its lease is wanted back:
    /// others need it, or it is void.
    pub(super) async fn settle(&self, spool_id: &str, news: Vec<News>) -> Result<Vec<bool>, AuthorityError> {
        match &self.redis {
            None => Ok(self.store.settle_leases(spool_id, news).await?),
            Some(hours) => Ok(hours.settle(spool_id, &news).await?),
        }
    }

    /// Ends what a gateway that was killed held, and returns how many leases that were. The file may be cleared once this has
    /// returned without an error, and not before.
    pub(super) async fn settle_left_over(&self, left_over: &LeftOver, spool_id: &str) -> Result<usize, AuthorityError> {
        let leases = match &self.redis {
            None => self.store.leases_of(spool_id).await?,
            Some(hours) => hours.leases_of(spool_id).await?,
        };
        for some in leases.chunks(LEASES_AT_ONCE) {
            let ends = some.iter().map(|(key_id, lease)| (key_id.clone(), left_over.end_of(lease)));
            self.settle(spool_id, ends.collect()).await?;
        }
        Ok(leases.len())
    }

    /// Finds out whether it can be asked, and who shares it, as far as it knows.
    pub(super) async fn beat(&self, spool_id: &str) -> Result<Fleet, AuthorityError> {
        match &self.redis {
            None => {
                // Whether something can be written, too.
                self.store.settle_leases(spool_id, vec![]).await?;
                let mut gateways = self.store.gateways().await?;
                gateways.retain(|gateway| gateway.silent_for < SEEN_WITHIN);
                Ok(Fleet::of(spool_id, gateways.iter().map(|gateway| gateway.gateway_id.as_str())))
            }
            Some(hours) => Ok(hours.beat(spool_id).await?),
        }
    }

    /// The key's hour was reset.
    pub(super) fn forget(&self, key_id: &KeyId) {
        if let Some(hours) = &self.redis {
            hours.forget(key_id);
        }
    }

    /// Above all earlier ones, those of earlier runs too unless the clock was set back since. Microseconds.
    fn next_id(&self) -> LeaseId {
        let now = clock::now().as_millis() * 1000;
        let next = |last: u64| (last + 1).max(now);
        let last = self.last_asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        LeaseId::from_number(next(last.expect("there is always a next one")))
    }
}
