//! Keys brought from elsewhere, until they are like any other.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::connections::SqliteStore;
use super::record;
use crate::model::bcrypt_hash::BcryptHash;
use crate::model::key_hash::KeyHash;
use crate::store::imports::NewRow;
use crate::store::{ForeignKeys, ImportedKey, Presence, StoreError};

/// Of a secret that was rotated out.
const STILL_VALID: &str = "strftime('%Y-%m-%d %H:%M:%f', valid_until) > strftime('%Y-%m-%d %H:%M:%f', 'now')";

impl SqliteStore {
    pub async fn foreign_keys(&self) -> Result<ForeignKeys, StoreError> {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM api_keys WHERE NOT minted) \
             OR EXISTS (SELECT 1 FROM api_key_previous_secrets WHERE NOT minted), \
             (SELECT count(*) FROM api_keys WHERE substr(key_hash, 1, 1) = '$' AND revoked_at IS NULL) \
             + (SELECT count(*) FROM api_key_previous_secrets WHERE substr(key_hash, 1, 1) = '$' AND {STILL_VALID})"
        );
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_row([], |row| Ok(ForeignKeys { exist: row.get(0)?, awaiting_first_use: row.get(1)? }))
        })
        .await
    }

    pub async fn presence_of(&self, keys: Arc<[ImportedKey]>) -> Result<Vec<Presence>, StoreError> {
        self.read(move |connection| keys.iter().map(|key| presence(connection, key)).collect()).await
    }

    pub async fn import_keys(&self, keys: Arc<[ImportedKey]>) -> Result<usize, StoreError> {
        self.change_many(move |transaction| {
            let mut written = 0;
            for key in keys.iter() {
                written += record::insert(transaction, &NewRow::imported(key))?;
            }
            Ok(written)
        })
        .await
    }

    pub async fn awaiting_first_use(&self, beginnings: &[&str], most: usize) -> Result<Vec<BcryptHash>, StoreError> {
        let beginnings = serde_json::Value::from(beginnings).to_string();
        let candidates = self.read(move |connection| candidates(connection, &beginnings, most)).await?;
        candidates.into_iter().collect()
    }

    pub async fn note_first_use(&self, awaited: &BcryptHash, hash: KeyHash) -> Result<(), StoreError> {
        // Its secret is as old as before: without a time of its own, the table would take this for a rotation.
        let current = "UPDATE api_keys SET key_hash = ?2, rotated_at = coalesce(rotated_at, created_at) WHERE key_hash = ?1";
        let previous = "UPDATE api_key_previous_secrets SET key_hash = ?2 WHERE key_hash = ?1";
        let (awaited, hash) = (awaited.as_str().to_owned(), hash.to_hex());
        self.change(move |transaction| {
            for table in [current, previous] {
                transaction.prepare_cached(table)?.execute([&awaited, &hash])?;
            }
            Ok(())
        })
        .await
    }
}

fn presence(connection: &Connection, key: &ImportedKey) -> rusqlite::Result<Presence> {
    let sql = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE key_hash = ?1) \
               OR EXISTS (SELECT 1 FROM api_keys WHERE imported_hash = ?1) \
               OR EXISTS (SELECT 1 FROM api_key_previous_secrets WHERE key_hash = ?1), \
               EXISTS (SELECT 1 FROM api_keys WHERE key_id = ?2)";
    let asked = params![key.hash.to_column(), key.record.key_id.as_str()];
    connection.prepare_cached(sql)?.query_row(asked, |row| Ok(Presence::of(row.get(0)?, row.get(1)?)))
}

/// `beginnings` is a JSON array. The longest first: fewer keys begin like that.
fn candidates(connection: &Connection, beginnings: &str, most: usize) -> rusqlite::Result<Vec<Result<BcryptHash, StoreError>>> {
    let sql = format!(
        "SELECT key_id, key_hash FROM ( \
               SELECT key_id, key_hash, key_prefix FROM api_keys WHERE substr(key_hash, 1, 1) = '$' AND revoked_at IS NULL \
               AND key_prefix IN (SELECT value FROM json_each(?1)) \
               UNION ALL SELECT key_id, key_hash, key_prefix FROM api_key_previous_secrets WHERE substr(key_hash, 1, 1) = '$' \
               AND {STILL_VALID} AND key_prefix IN (SELECT value FROM json_each(?1))) ORDER BY length(key_prefix) DESC, key_hash LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![beginnings, most], |row| {
        let (key_id, hash): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(BcryptHash::parse(&hash).map_err(|wrong| StoreError::BadRecord { key_id, says: format!("key_hash {wrong}") }))
    })?;
    rows.collect()
}
