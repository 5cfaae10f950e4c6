//! Keys looked up and listed.

use deadpool_postgres::GenericClient;
use tokio_postgres::types::ToSql;

use super::errors::Failure;
use super::pool::PostgresStore;
use super::record;
use super::values::{instant, timestamp};
use crate::model::ids::{KeyId, UserId};
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord};
use crate::model::timestamp::Timestamp;
use crate::store::{KeyFilter, KeyListing, StoreError};

impl PostgresStore {
    pub async fn find_key(&self, hash: KeyHash) -> Result<Option<FoundKey>, StoreError> {
        let sql = format!(
            "SELECT {columns}, k.key_hash, NULL::timestamptz AS valid_until FROM api_keys k WHERE k.key_hash = $1 \
             UNION ALL SELECT {columns}, p.key_hash, p.valid_until FROM api_key_previous_secrets p \
             JOIN api_keys k USING (key_id) WHERE p.key_hash = $1 LIMIT 1",
            columns = record::COLUMNS
        );
        self.read(async |client| {
            let statement = client.prepare_cached(&sql).await?;
            let row = client.query_opt(&statement, &[&hash.to_hex()]).await?;
            Ok(row.as_ref().map(record::read_found).transpose()?)
        })
        .await
    }

    pub async fn get_key(&self, key_id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.read(async |client| get(client, key_id, "").await).await
    }

    pub async fn previous_valid_until(&self, key_id: &KeyId) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT max(valid_until) FROM api_key_previous_secrets WHERE key_id = $1";
        let end = self.read(async |client| Ok(client.query_one(sql, &[&key_id.as_str()]).await?.get::<_, Option<_>>(0))).await?;
        Ok(end.map(timestamp))
    }

    pub async fn list_keys(&self, filter: &KeyFilter) -> Result<KeyListing, StoreError> {
        let sql = format!(
            "SELECT {} FROM api_keys k WHERE ($1::text IS NULL OR k.user_id = $1) \
             AND ($2::timestamptz IS NULL OR k.is_active AND k.revoked_at IS NULL AND coalesce(k.expires_at > $2, TRUE)) \
             AND ($3::timestamptz IS NULL OR k.created_at < $3) AND ($4::text IS NULL OR (k.created_at, k.key_id) > \
             (SELECT a.created_at, a.key_id FROM api_keys a WHERE a.key_id = $4)) \
             AND ($6::timestamptz IS NULL OR {} < $6) ORDER BY k.created_at, k.key_id LIMIT $5",
            record::COLUMNS,
            record::SECRET_SINCE
        );
        let user_id = filter.user_id.as_ref().map(UserId::as_str);
        let (good_at, created_before) = (filter.good_at.map(instant), filter.created_before.map(instant));
        let after = filter.after.as_ref().map(KeyId::as_str);
        let most = filter.most.map(|most| i64::try_from(most).unwrap_or(i64::MAX));
        let secret_before = filter.secret_before.map(instant);
        let wanted: [&(dyn ToSql + Sync); 6] = [&user_id, &good_at, &created_before, &after, &most, &secret_before];
        let rows = self.report(async |client| Ok(client.query(&sql, &wanted).await?)).await?;
        let is_full = filter.most == Some(rows.len());
        let last = rows.last().filter(|_| is_full).map(|row| row.get::<_, String>("key_id").into());
        let mut listing = KeyListing { last, ..KeyListing::default() };
        for row in &rows {
            match record::read(row) {
                Ok(key) => listing.keys.push(key),
                Err(unreadable) => listing.unreadable.push(unreadable),
            }
        }
        Ok(listing)
    }
}

/// `lock` is what is added to the statement: nothing, or ` FOR UPDATE`.
pub(super) async fn get(client: &impl GenericClient, key_id: &KeyId, lock: &str) -> Result<Option<KeyRecord>, Failure> {
    let sql = format!("SELECT {} FROM api_keys k WHERE k.key_id = $1{lock}", record::COLUMNS);
    let statement = client.prepare_cached(&sql).await?;
    let row = client.query_opt(&statement, &[&key_id.as_str()]).await?;
    Ok(row.as_ref().map(record::read).transpose()?)
}
