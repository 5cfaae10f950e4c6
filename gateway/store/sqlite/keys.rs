//! Keys: looked up, listed, changed.
//!
//! What must stay true here: every change is on the disk before it is answered, and a revoked key never comes back.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::connections::SqliteStore;
use super::record;
use crate::model::ids::{KeyId, UserId};
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord, Standing};
use crate::model::timestamp::Timestamp;
use crate::store::{KeyChanges, KeyFilter, KeyListing, Rotated, StoreError, Update};

impl SqliteStore {
    /// The key one of whose secrets has this hash, be it in use, ended or revoked: its standing says.
    ///
    /// # Errors
    /// [`StoreError::BadRecord`] when its row cannot be understood.
    pub async fn find_key(&self, hash: KeyHash) -> Result<Option<FoundKey>, StoreError> {
        self.read(move |connection| find(connection, hash)).await?.transpose()
    }

    /// Whether any secret was brought from elsewhere, so that one without our checksum may be a key all the same.
    pub async fn has_foreign_keys(&self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE NOT minted) \
                   OR EXISTS (SELECT 1 FROM api_key_previous_secrets WHERE NOT minted)";
        self.read(move |connection| connection.prepare_cached(sql)?.query_row([], |row| row.get(0))).await
    }

    /// # Errors
    /// [`StoreError::BadRecord`] when its row cannot be understood.
    pub async fn get_key(&self, key_id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let key_id = key_id.clone();
        self.read(move |connection| get(connection, &key_id)).await?.transpose()
    }

    pub async fn list_keys(&self, filter: &KeyFilter) -> Result<KeyListing, StoreError> {
        let filter = filter.clone();
        self.report(move |connection| list(connection, &filter)).await
    }

    /// Stores a key that was minted here.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when its id or its hash is there already.
    pub async fn insert_key(&self, hash: KeyHash, record: KeyRecord) -> Result<(), StoreError> {
        self.durable(move |connection| record::insert(connection, &hash, &record).map(drop)).await
    }

    /// The record after the change; `None`: there is no such key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a revoked key, [`StoreError::BadRecord`] when its row cannot be understood.
    pub async fn update_key(&self, key_id: &KeyId, changes: KeyChanges) -> Result<Option<KeyRecord>, StoreError> {
        let key_id = key_id.clone();
        self.durable(move |connection| update(connection, &key_id, changes)).await?.transpose()
    }

    /// A new current secret. The one before works for `grace` more; none: it ends now, and with it all earlier ones.
    /// `None`: there is no such key.
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
        self.durable(move |connection| rotate(connection, &key_id, &secret, grace, now)).await?.transpose()
    }

    /// Ends every secret of the key for good, also of one whose row cannot be understood. Again changes nothing.
    /// Returns whether there is such a key.
    pub async fn revoke_key(&self, key_id: &KeyId, now: Timestamp) -> Result<bool, StoreError> {
        let key_id = key_id.clone();
        self.durable(move |connection| revoke(connection, &key_id, now)).await
    }

    /// Clears `is_active` of the keys that have expired. Returns how many they were.
    pub async fn deactivate_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        let sql = "UPDATE api_keys SET is_active = FALSE \
                   WHERE is_active AND strftime('%Y-%m-%d %H:%M:%f', expires_at) <= ?1";
        self.overhaul(move |connection| connection.execute(sql, [now.to_sql_text()])).await
    }
}

/// What is stored of a fresh secret.
#[derive(Clone, Debug)]
pub struct NewSecret {
    pub hash: KeyHash,
    /// The part that may be shown.
    pub prefix: String,
}

/// A row that may not be there, and may not make sense.
type Row<T> = Option<Result<T, StoreError>>;

fn find(connection: &Connection, hash: KeyHash) -> rusqlite::Result<Row<FoundKey>> {
    let sql = format!(
        "SELECT {columns}, k.key_hash, NULL AS valid_until FROM api_keys k WHERE k.key_hash = ?1 \
         UNION ALL SELECT {columns}, p.key_hash, p.valid_until FROM api_key_previous_secrets p \
         JOIN api_keys k USING (key_id) WHERE p.key_hash = ?1 LIMIT 1",
        columns = record::COLUMNS
    );
    connection.prepare_cached(&sql)?.query_row([hash.to_hex()], |row| Ok(record::read_found(row))).optional()
}

fn get(connection: &Connection, key_id: &KeyId) -> rusqlite::Result<Row<KeyRecord>> {
    let sql = format!("SELECT {} FROM api_keys k WHERE k.key_id = ?1", record::COLUMNS);
    connection.prepare_cached(&sql)?.query_row([key_id.as_str()], |row| Ok(record::read(row))).optional()
}

/// The filter's times are compared here and not in SQL, as rows written by hand have them in several forms.
fn list(connection: &Connection, filter: &KeyFilter) -> rusqlite::Result<KeyListing> {
    let sql =
        format!("SELECT {} FROM api_keys k WHERE ?1 IS NULL OR k.user_id = ?1 ORDER BY k.created_at, k.key_id", record::COLUMNS);
    let mut listing = KeyListing::default();
    let mut statement = connection.prepare(&sql)?;
    let user_id = filter.user_id.as_ref().map(UserId::as_str);
    for row in statement.query_map([user_id], |row| Ok(record::read(row)))? {
        match row? {
            Ok(key) if wanted(&key, filter) => listing.keys.push(key),
            Ok(_) => {}
            Err(unreadable) => listing.unreadable.push(unreadable),
        }
    }
    Ok(listing)
}

fn wanted(key: &KeyRecord, filter: &KeyFilter) -> bool {
    filter.good_at.is_none_or(|now| key.standing(now) == Standing::Good)
        && filter.created_before.is_none_or(|end| key.created_at < end)
}

fn update(connection: &mut Connection, key_id: &KeyId, changes: KeyChanges) -> rusqlite::Result<Row<KeyRecord>> {
    let transaction = connection.transaction()?;
    let mut record = match changeable(&transaction, key_id)? {
        Some(Ok(record)) => record,
        none_or_refusal => return Ok(none_or_refusal),
    };
    set(&mut record.user_id, changes.user_id);
    set(&mut record.name, changes.name);
    set(&mut record.expires_at, changes.expires_at);
    set(&mut record.is_active, changes.is_active);
    set(&mut record.rate_limit_per_hour, changes.rate_limit_per_hour);
    set(&mut record.allowed_ips, changes.allowed_ips);
    set(&mut record.scopes, changes.scopes);
    record::write_settings(&transaction, &record)?;
    transaction.commit()?;
    Ok(Some(Ok(record)))
}

fn set<T>(field: &mut T, update: Update<T>) {
    if let Update::Set(value) = update {
        *field = value;
    }
}

/// The key as it is; a revoked one is refused.
fn changeable(connection: &Connection, key_id: &KeyId) -> rusqlite::Result<Row<KeyRecord>> {
    let refuse = |when: Timestamp| {
        let when = when.to_rfc3339();
        StoreError::Refused(format!("key {key_id} was revoked at {when} and cannot be changed any more; create a new one"))
    };
    let not_revoked = |record: KeyRecord| match record.revoked_at {
        None => Ok(record),
        Some(when) => Err(refuse(when)),
    };
    Ok(get(connection, key_id)?.map(|record| record.and_then(not_revoked)))
}

fn rotate(
    connection: &mut Connection,
    key_id: &KeyId,
    secret: &NewSecret,
    grace: Duration,
    now: Timestamp,
) -> rusqlite::Result<Row<Rotated>> {
    let transaction = connection.transaction()?;
    let record = match changeable(&transaction, key_id)? {
        Some(Ok(record)) => record,
        Some(Err(refusal)) => return Ok(Some(Err(refusal))),
        None => return Ok(None),
    };
    let previous_valid_until = (!grace.is_zero()).then(|| now.plus(grace));
    end_previous_secrets(&transaction, key_id, previous_valid_until.map(|_| now))?;
    if let Some(end) = previous_valid_until {
        let keep = "INSERT INTO api_key_previous_secrets (key_hash, key_id, valid_until, minted) \
                    SELECT key_hash, key_id, ?2, minted FROM api_keys WHERE key_id = ?1";
        transaction.prepare_cached(keep)?.execute(params![key_id.as_str(), end.to_sql_text()])?;
    }
    let replace = "UPDATE api_keys SET key_hash = ?2, key_prefix = ?3, minted = TRUE WHERE key_id = ?1";
    transaction.prepare_cached(replace)?.execute(params![key_id.as_str(), secret.hash.to_hex(), secret.prefix])?;
    transaction.commit()?;
    let record = KeyRecord { key_prefix: secret.prefix.clone(), ..record };
    Ok(Some(Ok(Rotated { record, previous_valid_until })))
}

/// Those whose time is over at `now`, or, without one, all.
fn end_previous_secrets(connection: &Connection, key_id: &KeyId, now: Option<Timestamp>) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM api_key_previous_secrets \
               WHERE key_id = ?1 AND (?2 IS NULL OR strftime('%Y-%m-%d %H:%M:%f', valid_until) <= ?2)";
    connection.prepare_cached(sql)?.execute(params![key_id.as_str(), now.map(Timestamp::to_sql_text)])
}

fn revoke(connection: &mut Connection, key_id: &KeyId, now: Timestamp) -> rusqlite::Result<bool> {
    let transaction = connection.transaction()?;
    let sql = "UPDATE api_keys SET is_active = FALSE, revoked_at = coalesce(revoked_at, ?2) WHERE key_id = ?1";
    let found = transaction.prepare_cached(sql)?.execute(params![key_id.as_str(), now.to_sql_text()])? > 0;
    end_previous_secrets(&transaction, key_id, None)?;
    transaction.commit()?;
    Ok(found)
}
