//! Keys made, changed, rotated, revoked.
//!
//! What must stay true here: what is read to be changed is locked until the change is committed, so that a revocation in
//! between is either seen or waits; and a revoked key never comes back.

use std::time::Duration;

use deadpool_postgres::Client;

use super::errors::Failure;
use super::keys::get;
use super::pool::PostgresStore;
use super::record;
use super::values::{count, instant};
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::imports::NewRow;
use crate::store::{KeyChanges, NewSecret, Rotated, StoreError, changeable};

impl PostgresStore {
    pub async fn insert_key(&self, hash: KeyHash, record: KeyRecord) -> Result<(), StoreError> {
        self.change(async |transaction| {
            record::insert(transaction, &NewRow::minted(hash, &record)).await?;
            Ok(())
        })
        .await
    }

    pub async fn insert_key_within(&self, hash: KeyHash, record: KeyRecord, most_per_hour: u64) -> Result<bool, StoreError> {
        // The number means nothing to anybody else.
        let one_at_a_time = "SELECT pg_advisory_xact_lock(730580887, hashtext($1))";
        let sql = "SELECT coalesce(sum(rate_limit_per_hour), 0)::bigint FROM api_keys WHERE user_id = $1 AND is_active \
                   AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
        self.change(async |transaction| {
            let user_id = record.user_id.as_str();
            transaction.execute(one_at_a_time, &[&user_id]).await?;
            let others = transaction.query_one(sql, &[&user_id, &instant(record.created_at)]).await?;
            let is_within = count(others.get(0)).saturating_add(record.rate_limit_per_hour.unwrap_or(u64::MAX)) <= most_per_hour;
            if is_within {
                record::insert(transaction, &NewRow::minted(hash, &record)).await?;
            }
            Ok(is_within)
        })
        .await
    }

    pub async fn update_key(&self, key_id: &KeyId, changes: KeyChanges) -> Result<Option<KeyRecord>, StoreError> {
        self.change(async |transaction| {
            let Some(mut record) = locked(transaction, key_id).await? else { return Ok(None) };
            changes.apply_to(&mut record)?;
            record::write_settings(transaction, &record).await?;
            Ok(Some(record))
        })
        .await
    }

    pub async fn offer_secret(
        &self,
        key_id: &KeyId,
        hash: KeyHash,
        valid_until: Timestamp,
        secret_before: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = format!(
            "INSERT INTO api_key_previous_secrets (key_hash, key_id, valid_until, minted) SELECT $2, k.key_id, $3, TRUE \
             FROM api_keys k WHERE k.key_id = $1 AND k.revoked_at IS NULL AND {} < $4",
            record::SECRET_SINCE
        );
        self.change(async |transaction| {
            let (until, before) = (instant(valid_until), instant(secret_before));
            Ok(transaction.execute(&sql, &[&key_id.as_str(), &hash.to_hex(), &until, &before]).await? > 0)
        })
        .await
    }

    pub async fn rotate_key(
        &self,
        key_id: &KeyId,
        secret: NewSecret,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Option<Rotated>, StoreError> {
        self.change(async |transaction| rotate(transaction, key_id, &secret, grace, now).await).await
    }

    pub async fn revoke_key(&self, key_id: &KeyId, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE api_keys SET is_active = FALSE, revoked_at = coalesce(revoked_at, $2) WHERE key_id = $1";
        self.change(async |transaction| {
            let found = transaction.execute(sql, &[&key_id.as_str(), &instant(now)]).await? > 0;
            end_previous_secrets(transaction, key_id, None).await?;
            Ok(found)
        })
        .await
    }

    pub async fn deactivate_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        let sql = "UPDATE api_keys SET is_active = FALSE WHERE is_active AND expires_at <= $1";
        let changed = self.overhaul(async |transaction| Ok(transaction.execute(sql, &[&instant(now)]).await?)).await?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }
}

/// The key as it is, locked until the end of the transaction; a revoked one is refused.
async fn locked(transaction: &Client, key_id: &KeyId) -> Result<Option<KeyRecord>, Failure> {
    Ok(get(transaction, key_id, " FOR UPDATE").await?.map(changeable).transpose()?)
}

async fn rotate(
    transaction: &Client,
    key_id: &KeyId,
    secret: &NewSecret,
    grace: Duration,
    now: Timestamp,
) -> Result<Option<Rotated>, Failure> {
    let Some(record) = locked(transaction, key_id).await? else { return Ok(None) };
    let previous_valid_until = (!grace.is_zero()).then(|| now.plus(grace));
    end_previous_secrets(transaction, key_id, previous_valid_until.map(|_| now)).await?;
    if let Some(end) = previous_valid_until {
        let keep = "INSERT INTO api_key_previous_secrets (key_hash, key_id, valid_until, minted, key_prefix) \
                    SELECT key_hash, key_id, $2, minted, key_prefix FROM api_keys WHERE key_id = $1";
        transaction.execute(keep, &[&key_id.as_str(), &instant(end)]).await?;
    }
    let no_longer_offered = "DELETE FROM api_key_previous_secrets WHERE key_hash = $1";
    transaction.execute(no_longer_offered, &[&secret.hash.to_hex()]).await?;
    let replace = "UPDATE api_keys SET key_hash = $2, key_prefix = $3, minted = TRUE WHERE key_id = $1";
    transaction.execute(replace, &[&key_id.as_str(), &secret.hash.to_hex(), &secret.prefix]).await?;
    let record = KeyRecord { key_prefix: secret.prefix.clone(), ..record };
    Ok(Some(Rotated { record, previous_valid_until }))
}

/// Those whose time is over at `now`, or, without one, all.
async fn end_previous_secrets(transaction: &Client, key_id: &KeyId, now: Option<Timestamp>) -> Result<(), Failure> {
    let sql = "DELETE FROM api_key_previous_secrets WHERE key_id = $1 AND ($2::timestamptz IS NULL OR valid_until <= $2)";
    transaction.execute(sql, &[&key_id.as_str(), &now.map(instant)]).await?;
    Ok(())
}
