//! Keys looked up and listed.

use rusqlite::{Connection, OptionalExtension, params};

use super::connections::SqliteStore;
use super::record;
use crate::model::ids::{KeyId, UserId};
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord, Standing};
use crate::model::timestamp::Timestamp;
use crate::store::{KeyFilter, KeyListing, StoreError};

impl SqliteStore {
    /// The key one of whose secrets has this hash, be it in use, ended or revoked: its standing says.
    ///
    /// # Errors
    /// [`StoreError::BadRecord`] when its row cannot be understood.
    pub async fn find_key(&self, hash: KeyHash) -> Result<Option<FoundKey>, StoreError> {
        self.read(move |connection| find(connection, hash)).await?.transpose()
    }

    /// # Errors
    /// [`StoreError::BadRecord`] when its row cannot be understood.
    pub async fn get_key(&self, key_id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let key_id = key_id.clone();
        self.read(move |connection| get(connection, &key_id)).await?.transpose()
    }

    /// Until when the last of its secrets from before works.
    pub async fn previous_valid_until(&self, key_id: &KeyId) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT max(strftime('%Y-%m-%d %H:%M:%f', valid_until)) FROM api_key_previous_secrets WHERE key_id = ?1";
        let key_id = key_id.clone();
        let end = move |connection: &mut Connection| {
            connection.prepare_cached(sql)?.query_row([key_id.as_str()], |row| row.get::<_, Option<String>>(0))
        };
        Ok(self.read(end).await?.and_then(|end| Timestamp::parse(&end)))
    }

    pub async fn list_keys(&self, filter: &KeyFilter) -> Result<KeyListing, StoreError> {
        let filter = filter.clone();
        self.report(move |connection| list(connection, &filter)).await
    }
}

/// A row that may not be there, and may not make sense.
pub(super) type Row<T> = Option<Result<T, StoreError>>;

fn find(connection: &Connection, hash: KeyHash) -> rusqlite::Result<Row<FoundKey>> {
    let sql = format!(
        "SELECT {columns}, k.key_hash, NULL AS valid_until FROM api_keys k WHERE k.key_hash = ?1 \
         UNION ALL SELECT {columns}, p.key_hash, p.valid_until FROM api_key_previous_secrets p \
         JOIN api_keys k USING (key_id) WHERE p.key_hash = ?1 LIMIT 1",
        columns = record::COLUMNS
    );
    connection.prepare_cached(&sql)?.query_row([hash.to_hex()], |row| Ok(record::read_found(row))).optional()
}

pub(super) fn get(connection: &Connection, key_id: &KeyId) -> rusqlite::Result<Row<KeyRecord>> {
    let sql = format!("SELECT {} FROM api_keys k WHERE k.key_id = ?1", record::COLUMNS);
    connection.prepare_cached(&sql)?.query_row([key_id.as_str()], |row| Ok(record::read(row))).optional()
}

/// The filter's times are compared here and not in SQL, as rows written by hand have them in several forms; but for the secret's,
/// which is no part of a record. One that cannot be understood is old.
fn list(connection: &Connection, filter: &KeyFilter) -> rusqlite::Result<KeyListing> {
    let sql = format!(
        "SELECT {} FROM api_keys k WHERE (?1 IS NULL OR k.user_id = ?1) AND (?2 IS NULL OR (k.created_at, k.key_id) > \
         (SELECT a.created_at, a.key_id FROM api_keys a WHERE a.key_id = ?2)) AND (?3 IS NULL OR ({} < ?3) IS NOT FALSE) \
         ORDER BY k.created_at, k.key_id",
        record::COLUMNS,
        record::SECRET_SINCE
    );
    let mut listing = KeyListing::default();
    let mut statement = connection.prepare(&sql)?;
    let user_id = filter.user_id.as_ref().map(UserId::as_str);
    let after = filter.after.as_ref().map(KeyId::as_str);
    let secret_before = filter.secret_before.map(Timestamp::to_sql_text);
    for row in statement.query_map(params![user_id, after, secret_before], |row| Ok((row.get("key_id")?, record::read(row))))? {
        let (key_id, read): (String, _) = row?;
        match read {
            Ok(key) if wanted(&key, filter) => listing.keys.push(key),
            Ok(_) => continue,
            Err(unreadable) => listing.unreadable.push(unreadable),
        }
        if filter.most == Some(listing.keys.len() + listing.unreadable.len()) {
            listing.last = Some(key_id.into());
            break;
        }
    }
    Ok(listing)
}

fn wanted(key: &KeyRecord, filter: &KeyFilter) -> bool {
    filter.good_at.is_none_or(|now| key.standing(now) == Standing::Good)
        && filter.created_before.is_none_or(|end| key.created_at < end)
}
