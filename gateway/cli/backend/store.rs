//! Work done on the store that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use zeroize::Zeroizing;

use super::{KeyWithText, Keys, WantedKey};
use crate::audit::{self, Head, Verdict};
use crate::cli::failure::BadUsage;
use crate::clock;
use crate::config::Config;
use crate::drain::Tasks;
use crate::explain::{Asked, AskedKey, Described, Explanation};
use crate::keyring::confirm::{self, Confirmations};
use crate::keyring::{self, NewKey};
use crate::limits::Authority;
use crate::model::ids::KeyId;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::redis::Redis;
use crate::reports::breakdown;
use crate::reports::hour::HourUsage;
use crate::store::{EventFilter, KeyChanges, KeyFilter, KeyUsage, ListedEvent, Store, UsageBreakdown, UsageFilter, UsageStep};

pub struct StoreBackend {
    pub config: Arc<Config>,
    pub store: Store,
}

impl StoreBackend {
    /// The one that the gateways ask for the hours' counts.
    pub async fn authority(&self) -> Authority {
        let redis = match &self.config.redis {
            Some(redis) => Some(Redis::connect(redis, &Arc::default(), &Tasks::new()).await),
            None => None,
        };
        Authority::new(self.store.clone(), redis)
    }

    /// After a change: it has its place in the chain of events then. What fails here is done by a gateway later.
    pub async fn seal_events(&self) {
        if let Err(error) = audit::seal(&self.store).await {
            tracing::warn!(%error, "the change waits for its place in the chain of events");
        }
    }

    /// The tables are made where there are none yet.
    pub async fn tables(&self) -> anyhow::Result<&Store> {
        self.store.ensure_migrated().await?;
        Ok(&self.store)
    }

    pub async fn create(&self, wanted: &WantedKey, now: Timestamp) -> anyhow::Result<KeyWithText> {
        let keys = &self.config.keys;
        let new = NewKey {
            user_id: wanted.user_id.clone(),
            name: wanted.name.clone(),
            environment: wanted.environment,
            rate_limit_per_hour: wanted.rate_limit.map_or(Some(keys.default_rate_limit), |limit| limit.0),
            expires_at: wanted.expires_at,
            allowed_ips: wanted.allowed_ips.clone(),
            scopes: wanted.scopes.clone(),
            most_together: None,
        };
        let created = keyring::create(self.tables().await?, &keys.prefix, new, now).await?;
        info!(key_id = %created.record.key_id, user_id = %created.record.user_id, "key created");
        self.seal_events().await;
        let text = Zeroizing::new(created.key.expose().to_owned());
        Ok(KeyWithText { text, record: created.record, previous_valid_until: None })
    }

    pub async fn list(&self, filter: &KeyFilter) -> anyhow::Result<Keys> {
        let listing = keyring::list(self.tables().await?, filter).await?;
        Ok(Keys { keys: listing.keys, unreadable: listing.unreadable.iter().map(ToString::to_string).collect() })
    }

    pub async fn show(&self, key_id: &KeyId) -> anyhow::Result<KeyRecord> {
        Ok(keyring::show(self.tables().await?, key_id).await?)
    }

    pub async fn update(&self, key_id: &KeyId, changes: KeyChanges, now: Timestamp) -> anyhow::Result<KeyRecord> {
        let record = keyring::update(self.tables().await?, key_id, changes, now).await?;
        info!(%key_id, "key changed");
        self.seal_events().await;
        Ok(record)
    }

    pub async fn rotate(&self, key_id: &KeyId, grace: Duration, now: Timestamp) -> anyhow::Result<KeyWithText> {
        let rotated = keyring::rotate(self.tables().await?, &self.config.keys.prefix, key_id, grace, now).await?;
        info!(%key_id, "key rotated");
        self.seal_events().await;
        let text = Zeroizing::new(rotated.key.expose().to_owned());
        Ok(KeyWithText { text, record: rotated.record, previous_valid_until: rotated.previous_valid_until })
    }

    pub async fn revoke(&self, key_id: &KeyId, wait: bool) -> anyhow::Result<Option<Confirmations>> {
        let store = self.tables().await?;
        keyring::revoke(store, key_id, clock::now()).await?;
        info!(%key_id, "key revoked");
        let confirmations = if wait { Some(confirm::by_all_gateways(store, key_id).await?) } else { None };
        self.seal_events().await;
        Ok(confirmations)
    }

    pub async fn hour(&self, key_id: &KeyId) -> anyhow::Result<HourUsage> {
        let record = keyring::show(&self.store, key_id).await?;
        let (now, used) = self.authority().await.hour_usage(key_id).await?;
        Ok(HourUsage::new(record.rate_limit_per_hour, used, now))
    }

    pub async fn reset_hour(&self, key_id: &KeyId) -> anyhow::Result<HourUsage> {
        keyring::show(&self.store, key_id).await?;
        self.authority().await.reset_hour(key_id, &self.store).await?;
        info!(%key_id, "limit reset");
        self.seal_events().await;
        self.hour(key_id).await
    }

    pub async fn usage_top(&self, since: Timestamp, limit: usize) -> anyhow::Result<Vec<KeyUsage>> {
        Ok(self.store.usage_top(since, limit).await?)
    }

    pub async fn usage_series(&self, filter: &UsageFilter, every: Duration) -> anyhow::Result<Vec<UsageStep>> {
        Ok(self.store.usage_series(filter, every).await?)
    }

    pub async fn usage_of(&self, key_id: &KeyId, since: Timestamp, until: Timestamp) -> anyhow::Result<UsageBreakdown> {
        Ok(breakdown::ask(&self.store, Some(key_id), since, until).await?)
    }

    pub async fn explain(&self, described: &Described<'_>, key_id: Option<&KeyId>) -> anyhow::Result<Explanation> {
        let asked = Asked::new(described).map_err(BadUsage)?;
        let key = AskedKey::find(key_id, &self.store, &self.authority().await).await?;
        Ok(asked.explain(&key, &self.config, clock::now()))
    }

    pub async fn events(&self, filter: &EventFilter) -> anyhow::Result<Vec<ListedEvent>> {
        Ok(self.store.list_events(filter).await?)
    }

    pub async fn verify_events(&self, head: Option<&Head>) -> anyhow::Result<Verdict> {
        Ok(audit::verify(&self.store, head).await?)
    }
}
