//! Keys brought from elsewhere, until they are like any other.

use std::sync::Arc;

use tokio_postgres::Row;

use super::pool::PostgresStore;
use super::record;
use super::values::{bigint, count};
use crate::model::bcrypt_hash::BcryptHash;
use crate::model::key_hash::KeyHash;
use crate::store::imports::NewRow;
use crate::store::{ForeignKeys, ImportedKey, Presence, StoreError};

impl PostgresStore {
    pub async fn foreign_keys(&self) -> Result<ForeignKeys, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE NOT minted) \
                   OR EXISTS (SELECT 1 FROM api_key_previous_secrets WHERE NOT minted), \
                   (SELECT count(*) FROM api_keys WHERE substr(key_hash, 1, 1) = '$' AND revoked_at IS NULL) \
                   + (SELECT count(*) FROM api_key_previous_secrets WHERE substr(key_hash, 1, 1) = '$' AND valid_until > now())";
        self.read(async |client| {
            let statement = client.prepare_cached(sql).await?;
            let row = client.query_one(&statement, &[]).await?;
            Ok(ForeignKeys { exist: row.get(0), awaiting_first_use: count(row.get(1)) })
        })
        .await
    }

    pub async fn presence_of(&self, keys: Arc<[ImportedKey]>) -> Result<Vec<Presence>, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE key_hash = asked.hash) \
                   OR EXISTS (SELECT 1 FROM api_keys WHERE imported_hash = asked.hash) \
                   OR EXISTS (SELECT 1 FROM api_key_previous_secrets WHERE key_hash = asked.hash), \
                   EXISTS (SELECT 1 FROM api_keys k WHERE k.key_id = asked.key_id) \
                   FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (hash, key_id, place) ORDER BY place";
        let (hashes, ids): (Vec<String>, Vec<&str>) =
            keys.iter().map(|key| (key.hash.to_column(), key.record.key_id.as_str())).unzip();
        let rows = self.read(async |client| Ok(client.query(sql, &[&hashes, &ids]).await?)).await?;
        Ok(rows.iter().map(|row| Presence::of(row.get(0), row.get(1))).collect())
    }

    pub async fn import_keys(&self, keys: Arc<[ImportedKey]>) -> Result<usize, StoreError> {
        self.overhaul(async |transaction| {
            let mut written = 0;
            for key in keys.iter() {
                written += record::insert(transaction, &NewRow::imported(key)).await?;
            }
            Ok(written)
        })
        .await
    }

    pub async fn awaiting_first_use(&self, beginnings: &[&str], most: usize) -> Result<Vec<BcryptHash>, StoreError> {
        let sql = "SELECT key_id, key_hash FROM ( \
                   SELECT key_id, key_hash, key_prefix FROM api_keys WHERE substr(key_hash, 1, 1) = '$' AND revoked_at IS NULL \
                   AND key_prefix = ANY ($1) \
                   UNION ALL SELECT key_id, key_hash, key_prefix FROM api_key_previous_secrets \
                   WHERE substr(key_hash, 1, 1) = '$' AND valid_until > now() AND key_prefix = ANY ($1)) candidate \
                   ORDER BY length(key_prefix) DESC, key_hash LIMIT $2";
        let most = bigint(most as u64);
        let rows = self
            .read(async |client| {
                let statement = client.prepare_cached(sql).await?;
                Ok(client.query(&statement, &[&beginnings, &most]).await?)
            })
            .await?;
        rows.iter().map(candidate).collect()
    }

    pub async fn note_first_use(&self, awaited: &BcryptHash, hash: KeyHash) -> Result<(), StoreError> {
        // Its secret is as old as before: without a time of its own, the table would take this for a rotation.
        let current = "UPDATE api_keys SET key_hash = $2, rotated_at = coalesce(rotated_at, created_at) WHERE key_hash = $1";
        let previous = "UPDATE api_key_previous_secrets SET key_hash = $2 WHERE key_hash = $1";
        let hash = hash.to_hex();
        self.change(async |transaction| {
            for table in [current, previous] {
                transaction.execute(table, &[&awaited.as_str(), &hash]).await?;
            }
            Ok(())
        })
        .await
    }
}

fn candidate(row: &Row) -> Result<BcryptHash, StoreError> {
    let (key_id, hash): (String, String) = (row.get(0), row.get(1));
    BcryptHash::parse(&hash).map_err(|wrong| StoreError::BadRecord { key_id, says: format!("key_hash {wrong}") })
}
