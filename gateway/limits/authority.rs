//! Who is asked for an hour's count: Redis where gateways share one, else the store.

use std::sync::Arc;
use std::time::Duration;

use super::lease_file::LeftOver;
use super::left_over;
use super::redis::{News, RedisHours};
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::lease::{LeaseAnswer, LeaseRequest};
use crate::model::timestamp::Timestamp;
use crate::redis::{Redis, RedisError};
use crate::store::{Store, StoreError};

/// A gateway that has said nothing for this long is no longer counted.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub enum Authority {
    Store(Store),
    /// The store still tells gateways of resets.
    Redis {
        hours: RedisHours,
        store: Store,
    },
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
        match redis {
            None => Self::Store(store),
            Some(redis) => Self::Redis { hours: RedisHours::new(redis), store },
        }
    }

    /// Now, and the requests admitted in this hour as far as gateways have told.
    pub async fn hour_usage(&self, key_id: &KeyId) -> Result<(Timestamp, u64), AuthorityError> {
        let now = clock::now();
        match self {
            Self::Store(store) => Ok((now, store.hour_usage(key_id, now).await?)),
            Self::Redis { hours, .. } => Ok(hours.hour_usage(key_id).await?),
        }
    }

    /// Starts the current hour of a key anew, on every gateway: every lease is void.
    pub async fn reset_hour(&self, key_id: &KeyId) -> Result<(), AuthorityError> {
        if let Self::Redis { hours, .. } = self {
            hours.reset_hour(key_id).await?;
        }
        let (Self::Store(store) | Self::Redis { store, .. }) = self;
        Ok(store.reset_hour(key_id).await?)
    }

    /// Takes back what the request returns, then grants what the hour allows. Not `spooled`: the lease could not be found again
    /// by a killed gateway.
    pub(super) async fn lease(
        &self,
        key_id: &KeyId,
        spool_id: &str,
        spooled: bool,
        request: LeaseRequest,
    ) -> Result<LeaseAnswer, AuthorityError> {
        match self {
            Self::Store(store) => Ok(store.lease(key_id, spooled.then_some(spool_id), request).await?),
            Self::Redis { hours, .. } => Ok(hours.lease(key_id, spool_id, spooled, request).await?),
        }
    }

    /// Writes down what became of leases, and what was admitted without any. Says of each whether its lease is wanted back.
    pub(super) async fn settle(&self, spool_id: &str, news: &[News]) -> Result<Vec<bool>, AuthorityError> {
        match self {
            Self::Store(store) => {
                let leases = news.iter().filter_map(|(_, report)| report.lease).collect();
                let debts = news.iter().filter_map(|(key_id, report)| Some((key_id.clone(), report.debt?))).collect();
                store.settle_leases(leases, debts).await?;
                Ok(vec![false; news.len()])
            }
            Self::Redis { hours, .. } => Ok(hours.settle(spool_id, news).await?),
        }
    }

    /// Ends what a gateway that was killed held, and returns how many leases that were. The file may be cleared once this has
    /// returned without an error, and not before.
    pub(super) async fn settle_left_over(&self, left_over: &LeftOver, spool_id: &str) -> Result<usize, AuthorityError> {
        match self {
            Self::Store(store) => Ok(left_over::settle(left_over, spool_id, store).await?),
            Self::Redis { hours, .. } => Ok(hours.settle_left_over(left_over, spool_id).await?),
        }
    }

    /// Finds out whether it can be asked, and says how many gateways share it, as far as it knows.
    pub(super) async fn beat(&self, spool_id: &str) -> Result<u64, AuthorityError> {
        match self {
            Self::Store(store) => {
                // Whether something can be written, too.
                store.settle_leases(vec![], vec![]).await?;
                let alive = store.gateways().await?.into_iter().filter(|gateway| gateway.silent_for < SEEN_WITHIN);
                Ok(alive.count().max(1) as u64)
            }
            Self::Redis { hours, .. } => Ok(hours.beat(spool_id).await?),
        }
    }

    /// The key's hour was reset.
    pub(super) fn forget(&self, key_id: &KeyId) {
        if let Self::Redis { hours, .. } = self {
            hours.forget(key_id);
        }
    }
}
