//! Keys made, changed, rotated, revoked.
//!
//! What must stay true here: every change is on the disk before it is answered, and a revoked key never comes back.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::connections::SqliteStore;
use super::keys::{Row, get};
use super::record;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{KeyChanges, NewSecret, Rotated, StoreError, Update};

impl SqliteStore {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, NOW, hash, record, secret, with_key};
    use super::*;
    use crate::model::key_record::Standing;

    const DAY: Duration = Duration::from_hours(24);

    async fn standing(store: &SqliteStore, secret: &str, at: Timestamp) -> Option<Standing> {
        store.find_key(hash(secret)).await.unwrap().map(|found| found.standing(at))
    }

    #[tokio::test]
    async fn an_id_or_a_hash_that_is_there_already_is_refused() {
        let (_folder, store, _) = with_key("k").await;
        for (hash, record) in [(hash("k"), record("other")), (hash("other"), record("k"))] {
            let answer = store.insert_key(hash, record).await;
            assert!(matches!(&answer, Err(StoreError::Refused(says)) if says.contains("UNIQUE")), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn after_a_rotation_both_secrets_work_until_the_grace_is_over() {
        let (_folder, store, id) = with_key("old").await;
        let rotated = store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap().unwrap();
        assert_eq!((rotated.record.key_prefix.as_str(), rotated.previous_valid_until), ("hk_live_new", Some(NOW.plus(DAY))));
        assert_eq!(standing(&store, "new", NOW).await, Some(Standing::Good));
        assert_eq!(standing(&store, "old", NOW).await, Some(Standing::Good));
        assert_eq!(standing(&store, "old", NOW.plus(DAY)).await, Some(Standing::Expired));
        let record = store.get_key(&id).await.unwrap().unwrap();
        assert_eq!(store.find_key(hash("old")).await.unwrap().unwrap().record, record);
    }

    #[tokio::test]
    async fn a_rotation_without_grace_ends_every_earlier_secret_at_once() {
        let (_folder, store, id) = with_key("first").await;
        store.rotate_key(&id, secret("second"), DAY, NOW).await.unwrap();
        let rotated = store.rotate_key(&id, secret("third"), Duration::ZERO, NOW).await.unwrap().unwrap();
        assert_eq!(rotated.previous_valid_until, None);
        let found = [standing(&store, "first", NOW).await, standing(&store, "second", NOW).await];
        assert_eq!(found, [None, None]);
        assert_eq!(standing(&store, "third", NOW).await, Some(Standing::Good));
    }

    #[tokio::test]
    async fn a_rotation_forgets_secrets_whose_grace_is_over_and_keeps_the_others() {
        let (_folder, store, id) = with_key("first").await;
        store.rotate_key(&id, secret("second"), DAY, NOW).await.unwrap();
        store.rotate_key(&id, secret("third"), DAY * 3, NOW).await.unwrap();
        store.rotate_key(&id, secret("fourth"), DAY, NOW.plus(DAY)).await.unwrap();
        assert_eq!(standing(&store, "first", NOW).await, None);
        assert_eq!(standing(&store, "second", NOW.plus(DAY)).await, Some(Standing::Good));
    }

    #[tokio::test]
    async fn a_revocation_ends_every_secret_for_good() {
        let (folder, store, id) = with_key("old").await;
        store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap();
        assert!(store.revoke_key(&id, NOW).await.unwrap());
        assert_eq!(standing(&store, "new", NOW).await, Some(Standing::Inactive));
        assert_eq!(standing(&store, "old", NOW).await, None);

        let enable = KeyChanges { is_active: Update::Set(true), ..KeyChanges::default() };
        for answer in
            [store.update_key(&id, enable).await.map(drop), store.rotate_key(&id, secret("newer"), DAY, NOW).await.map(drop)]
        {
            assert!(matches!(&answer, Err(StoreError::Refused(says)) if says.contains("was revoked")), "{answer:?}");
        }
        folder.shell().execute("UPDATE api_keys SET is_active = TRUE", []).unwrap();
        assert_eq!(standing(&store, "new", NOW).await, Some(Standing::Inactive));
    }

    #[tokio::test]
    async fn a_second_revocation_keeps_the_time_of_the_first() {
        let (_folder, store, id) = with_key("k").await;
        store.revoke_key(&id, NOW).await.unwrap();
        store.revoke_key(&id, NOW.plus(DAY)).await.unwrap();
        assert_eq!(store.get_key(&id).await.unwrap().unwrap().revoked_at, Some(NOW));
        assert!(!store.revoke_key(&"nobody".into(), NOW).await.unwrap());
    }

    #[tokio::test]
    async fn an_update_sets_what_it_names_and_nothing_else() {
        let (_folder, store, id) = with_key("k").await;
        let changes = KeyChanges {
            name: Update::Set("another".to_owned()),
            rate_limit_per_hour: Update::Set(None),
            is_active: Update::Set(false),
            ..KeyChanges::default()
        };
        let updated = store.update_key(&id, changes.clone()).await.unwrap().unwrap();
        let wanted = KeyRecord { name: "another".to_owned(), rate_limit_per_hour: None, is_active: false, ..record("k") };
        assert_eq!(updated, wanted);
        assert_eq!(store.get_key(&id).await.unwrap(), Some(wanted));
        assert_eq!(store.update_key(&"nobody".into(), changes).await.unwrap(), None);
    }

    #[tokio::test]
    async fn expired_keys_are_deactivated_whatever_form_their_time_has() {
        let (folder, store) = Folder::migrated().await;
        for (key_id, expires_at) in [
            ("ours", "2026-11-22 10:00:00.000"),
            ("zulu", "2026-11-22T10:00:00Z"),
            ("offset", "2026-11-22T12:00:00+02:00"),
            ("later", "2026-11-22T10:00:00-01:00"),
        ] {
            store.insert_key(hash(key_id), record(key_id)).await.unwrap();
            folder.shell().execute("UPDATE api_keys SET expires_at = ?2 WHERE key_id = ?1", [key_id, expires_at]).unwrap();
        }
        assert_eq!(store.deactivate_expired(NOW).await.unwrap(), 3);
        assert_eq!(store.deactivate_expired(NOW).await.unwrap(), 0);
        assert!(store.get_key(&"later".into()).await.unwrap().unwrap().is_active);
    }
}
