//! Keys made, changed, rotated, revoked.
//!
//! What must stay true here: every change is on the disk before it is answered, and a revoked key never comes back.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::connections::SqliteStore;
use super::keys::{Row, get};
use super::record;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::imports::NewRow;
use crate::store::{KeyChanges, NewSecret, Rotated, StoreError, changeable};

impl SqliteStore {
    /// Stores a key that was minted here.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when its id or its hash is there already.
    pub async fn insert_key(&self, hash: KeyHash, record: KeyRecord) -> Result<(), StoreError> {
        self.change(move |transaction| record::insert(transaction, &NewRow::minted(hash, &record)).map(drop)).await
    }

    /// As [`insert_key`](Self::insert_key), if with it all keys of its user that are good at its creation have no more than that
    /// per hour; those without a limit are not counted. False: they would, and nothing was stored.
    pub async fn insert_key_within(&self, hash: KeyHash, record: KeyRecord, most_per_hour: u64) -> Result<bool, StoreError> {
        let sql = "SELECT coalesce(sum(rate_limit_per_hour), 0) FROM api_keys WHERE user_id = ?1 AND is_active \
                   AND revoked_at IS NULL AND (expires_at IS NULL OR strftime('%Y-%m-%d %H:%M:%f', expires_at) > ?2)";
        self.change(move |transaction| {
            let of_user = params![record.user_id.as_str(), record.created_at.to_sql_text()];
            let others: u64 = transaction.prepare_cached(sql)?.query_row(of_user, |row| row.get(0))?;
            let is_within = others.saturating_add(record.rate_limit_per_hour.unwrap_or(u64::MAX)) <= most_per_hour;
            if is_within {
                record::insert(transaction, &NewRow::minted(hash, &record))?;
            }
            Ok(is_within)
        })
        .await
    }

    /// The record after the change; `None`: there is no such key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a revoked key, [`StoreError::Changed`] for one that is not as it was seen,
    /// [`StoreError::BadRecord`] when its row cannot be understood.
    pub async fn update_key(&self, key_id: &KeyId, changes: KeyChanges) -> Result<Option<KeyRecord>, StoreError> {
        let key_id = key_id.clone();
        self.change(move |transaction| update(transaction, &key_id, changes)).await?.transpose()
    }

    /// A secret that works beside the current one until then, if that one is still from before `secret_before`. False: it is not,
    /// or the key is revoked or gone, and nothing changed.
    pub async fn offer_secret(
        &self,
        key_id: &KeyId,
        hash: KeyHash,
        valid_until: Timestamp,
        secret_before: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = format!(
            "INSERT INTO api_key_previous_secrets (key_hash, key_id, valid_until, minted) SELECT ?2, k.key_id, ?3, TRUE \
             FROM api_keys k WHERE k.key_id = ?1 AND k.revoked_at IS NULL AND ({} < ?4) IS NOT FALSE",
            record::SECRET_SINCE
        );
        let key_id = key_id.clone();
        self.change(move |transaction| {
            let until = valid_until.to_sql_text();
            let offered = params![key_id.as_str(), hash.to_hex(), until, secret_before.to_sql_text()];
            Ok(transaction.prepare_cached(&sql)?.execute(offered)? > 0)
        })
        .await
    }

    /// A new current secret, be it one that was offered. The one before works for `grace` more; none: it ends now, and with it all
    /// earlier ones. `None`: there is no such key.
    ///
    /// # Errors
    /// As [`update_key`](Self::update_key).
    pub async fn rotate_key(
        &self,
        key_id: &KeyId,
        secret: NewSecret,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Option<Rotated>, StoreError> {
        let key_id = key_id.clone();
        self.change(move |transaction| rotate(transaction, &key_id, &secret, grace, now)).await?.transpose()
    }

    /// Ends every secret of the key for good, also of one whose row cannot be understood. Again changes nothing.
    /// Returns whether there is such a key.
    pub async fn revoke_key(&self, key_id: &KeyId, now: Timestamp) -> Result<bool, StoreError> {
        let key_id = key_id.clone();
        self.change(move |transaction| revoke(transaction, &key_id, now)).await
    }

    /// Clears `is_active` of the keys that have expired. Returns how many they were.
    pub async fn deactivate_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        let sql = "UPDATE api_keys SET is_active = FALSE \
                   WHERE is_active AND strftime('%Y-%m-%d %H:%M:%f', expires_at) <= ?1";
        self.change_many(move |transaction| transaction.execute(sql, [now.to_sql_text()])).await
    }
}

fn update(transaction: &Transaction<'_>, key_id: &KeyId, changes: KeyChanges) -> rusqlite::Result<Row<KeyRecord>> {
    let mut record = match locked(transaction, key_id)? {
        Some(Ok(record)) => record,
        none_or_refusal => return Ok(none_or_refusal),
    };
    if let Err(refusal) = changes.apply_to(&mut record) {
        return Ok(Some(Err(refusal)));
    }
    record::write_settings(transaction, &record)?;
    Ok(Some(Ok(record)))
}

/// The key as it is; a revoked one is refused. The transaction holds the write lock.
fn locked(transaction: &Transaction<'_>, key_id: &KeyId) -> rusqlite::Result<Row<KeyRecord>> {
    Ok(get(transaction, key_id)?.map(|record| record.and_then(changeable)))
}

fn rotate(
    transaction: &Transaction<'_>,
    key_id: &KeyId,
    secret: &NewSecret,
    grace: Duration,
    now: Timestamp,
) -> rusqlite::Result<Row<Rotated>> {
    let record = match locked(transaction, key_id)? {
        Some(Ok(record)) => record,
        Some(Err(refusal)) => return Ok(Some(Err(refusal))),
        None => return Ok(None),
    };
    let previous_valid_until = (!grace.is_zero()).then(|| now.plus(grace));
    end_previous_secrets(transaction, key_id, previous_valid_until.map(|_| now))?;
    if let Some(end) = previous_valid_until {
        let keep = "INSERT INTO api_key_previous_secrets (key_hash, key_id, valid_until, minted, key_prefix) \
                    SELECT key_hash, key_id, ?2, minted, key_prefix FROM api_keys WHERE key_id = ?1";
        transaction.prepare_cached(keep)?.execute(params![key_id.as_str(), end.to_sql_text()])?;
    }
    let no_longer_offered = "DELETE FROM api_key_previous_secrets WHERE key_hash = ?1";
    transaction.prepare_cached(no_longer_offered)?.execute([secret.hash.to_hex()])?;
    let replace = "UPDATE api_keys SET key_hash = ?2, key_prefix = ?3, minted = TRUE WHERE key_id = ?1";
    transaction.prepare_cached(replace)?.execute(params![key_id.as_str(), secret.hash.to_hex(), secret.prefix])?;
    let record = KeyRecord { key_prefix: secret.prefix.clone(), ..record };
    Ok(Some(Ok(Rotated { record, previous_valid_until })))
}

/// Those whose time is over at `now`, or, without one, all.
fn end_previous_secrets(transaction: &Transaction<'_>, key_id: &KeyId, now: Option<Timestamp>) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM api_key_previous_secrets \
               WHERE key_id = ?1 AND (?2 IS NULL OR strftime('%Y-%m-%d %H:%M:%f', valid_until) <= ?2)";
    transaction.prepare_cached(sql)?.execute(params![key_id.as_str(), now.map(Timestamp::to_sql_text)])
}

fn revoke(transaction: &Transaction<'_>, key_id: &KeyId, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "UPDATE api_keys SET is_active = FALSE, revoked_at = coalesce(revoked_at, ?2) WHERE key_id = ?1";
    let found = transaction.prepare_cached(sql)?.execute(params![key_id.as_str(), now.to_sql_text()])? > 0;
    end_previous_secrets(transaction, key_id, None)?;
    Ok(found)
}
