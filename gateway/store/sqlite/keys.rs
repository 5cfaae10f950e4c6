//! Keys looked up and listed.

use rusqlite::{Connection, OptionalExtension};

use super::connections::SqliteStore;
use super::record;
use crate::model::ids::{KeyId, UserId};
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord, Standing};
use crate::store::{KeyFilter, KeyListing, StoreError};

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{Folder, NOW, hash, record, secret, with_key};
    use super::*;
    use crate::model::address::IpNetSet;

    const DAY: Duration = Duration::from_hours(24);

    #[tokio::test]
    async fn a_key_reads_back_as_it_was_written() {
        let (_folder, store) = Folder::migrated().await;
        let mut key = record("k");
        key.expires_at = Some(NOW.plus(DAY));
        key.rate_limit_per_hour = None;
        key.allowed_ips = IpNetSet::parse(&["10.0.0.0/8", "::1"]).unwrap();
        key.scopes = vec!["read".to_owned(), "write".to_owned()];
        store.insert_key(hash("k"), key.clone()).await.unwrap();

        let found = store.find_key(hash("k")).await.unwrap().unwrap();
        assert_eq!(found, FoundKey { hash: hash("k"), secret_expires_at: None, record: key.clone() });
        assert_eq!(store.get_key(&key.key_id).await.unwrap(), Some(key));
        assert_eq!(store.find_key(hash("other")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_understood_is_an_error_for_its_key_and_hides_no_other() {
        for (column, value) in
            [("expires_at", "tomorrow"), ("allowed_ips", "[\"10.0.0.0/99\"]"), ("scopes", "read"), ("is_active", "yes")]
        {
            let (folder, store, id) = with_key("bad").await;
            folder.shell().execute(&format!("UPDATE api_keys SET {column} = ?1"), [value]).unwrap();
            store.insert_key(hash("good"), record("good")).await.unwrap();
            let names_it = |error: &StoreError| error.to_string().starts_with(&format!("api_keys row bad: {column}"));
            assert!(names_it(&store.find_key(hash("bad")).await.unwrap_err()));
            assert!(names_it(&store.get_key(&id).await.unwrap_err()));
            let listing = store.list_keys(&KeyFilter::default()).await.unwrap();
            assert_eq!(listing.keys, [record("good")]);
            assert!(listing.unreadable.len() == 1 && names_it(&listing.unreadable[0]));
            assert!(store.revoke_key(&id, NOW).await.unwrap(), "it can be revoked all the same");
        }
    }

    #[tokio::test]
    async fn a_listing_has_the_oldest_first_and_only_what_was_asked_for() {
        let (_folder, store) = Folder::migrated().await;
        let ids = |listing: KeyListing| listing.keys.iter().map(|key| key.key_id.to_string()).collect::<Vec<_>>();
        let keys = [
            KeyRecord { created_at: NOW, ..record("newest") },
            KeyRecord { created_at: NOW.minus(DAY), is_active: false, ..record("disabled") },
            KeyRecord { created_at: NOW.minus(DAY * 2), expires_at: Some(NOW), ..record("expired") },
            KeyRecord { created_at: NOW.minus(DAY * 3), user_id: "bob".into(), ..record("bobs") },
        ];
        for key in keys {
            store.insert_key(hash(key.key_id.as_str()), key).await.unwrap();
        }
        let all = KeyFilter::default();
        let good = KeyFilter { good_at: Some(NOW), ..all.clone() };
        let bobs = KeyFilter { user_id: Some("bob".into()), ..all.clone() };
        let old = KeyFilter { created_before: Some(NOW.minus(DAY)), ..all.clone() };
        assert_eq!(ids(store.list_keys(&all).await.unwrap()), ["bobs", "expired", "disabled", "newest"]);
        assert_eq!(ids(store.list_keys(&good).await.unwrap()), ["bobs", "newest"]);
        assert_eq!(ids(store.list_keys(&bobs).await.unwrap()), ["bobs"]);
        assert_eq!(ids(store.list_keys(&old).await.unwrap()), ["bobs", "expired"]);
    }

    #[tokio::test]
    async fn a_secret_from_elsewhere_is_known_as_foreign_even_when_it_was_rotated_out() {
        let (folder, store, id) = with_key("k").await;
        assert!(!store.has_foreign_keys().await.unwrap());
        folder.shell().execute("UPDATE api_keys SET minted = FALSE", []).unwrap();
        assert!(store.has_foreign_keys().await.unwrap());
        store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap();
        assert!(store.has_foreign_keys().await.unwrap());
        store.rotate_key(&id, secret("newer"), Duration::ZERO, NOW).await.unwrap();
        assert!(!store.has_foreign_keys().await.unwrap());
    }
}
