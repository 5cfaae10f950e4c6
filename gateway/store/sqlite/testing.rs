//! A store in a temporary folder, and the operator's own connection to it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::SqliteStore;
use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{NewSecret, Store};

/// When the tests happen.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_341_600);

pub(crate) struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With its tables, unlike [`store`](Self::store).
    pub async fn migrated() -> (Self, Store) {
        let folder = Self::new();
        let store = folder.store();
        store.ensure_migrated().await.unwrap();
        (folder, store)
    }

    pub fn store(&self) -> Store {
        self.store_with_timeout(Duration::from_secs(20))
    }

    pub fn store_with_timeout(&self, timeout: Duration) -> Store {
        Store::Sqlite(SqliteStore::new(self.file(), NonZeroUsize::new(2).unwrap(), timeout))
    }

    pub fn file(&self) -> PathBuf {
        self.0.path().join("gateway.db")
    }

    /// A connection of somebody else, as of the `sqlite3` shell.
    pub fn shell(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

pub(crate) fn record(key_id: &str) -> KeyRecord {
    KeyRecord {
        key_id: key_id.into(),
        key_prefix: "hk_live_abc".to_owned(),
        user_id: "alice".into(),
        name: "a name".to_owned(),
        environment: Environment::Production,
        created_at: NOW,
        expires_at: None,
        last_used_at: None,
        is_active: true,
        revoked_at: None,
        rate_limit_per_hour: Some(1000),
        allowed_ips: IpNetSet::default(),
        scopes: Vec::new(),
        awaits_first_use: false,
    }
}

/// The hash that the tests give to a key of this id.
pub(crate) fn hash(key_id: &str) -> KeyHash {
    KeyHash::of(key_id.as_bytes())
}

/// A key of this id.
pub(crate) async fn add_key(store: &Store, key_id: &str) -> KeyId {
    store.insert_key(hash(key_id), record(key_id)).await.unwrap();
    key_id.into()
}

pub(crate) fn sqlite(store: Store) -> SqliteStore {
    match store {
        Store::Sqlite(store) => store,
        Store::Postgres(store) => panic!("{store:?}"),
    }
}

/// What a rotation gets when the new key is called this.
pub(crate) fn secret(name: &str) -> NewSecret {
    NewSecret { hash: hash(name), prefix: format!("hk_live_{name}") }
}
