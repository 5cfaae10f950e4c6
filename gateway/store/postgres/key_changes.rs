//! stub

use std::time::Duration;

use super::PostgresStore;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{KeyChanges, NewSecret, Rotated, StoreError};

impl PostgresStore {
    pub async fn insert_key(&self, hash: KeyHash, record: KeyRecord) -> Result<(), StoreError> {
        todo!()
    }

    pub async fn update_key(&self, key_id: &KeyId, changes: KeyChanges) -> Result<Option<KeyRecord>, StoreError> {
        todo!()
    }

    pub async fn rotate_key(
        &self,
        key_id: &KeyId,
        secret: NewSecret,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Option<Rotated>, StoreError> {
        todo!()
    }

    pub async fn revoke_key(&self, key_id: &KeyId, now: Timestamp) -> Result<bool, StoreError> {
        todo!()
    }

    pub async fn deactivate_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        todo!()
    }
}
