//! stub

use super::PostgresStore;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord};
use crate::store::{KeyFilter, KeyListing, StoreError};

impl PostgresStore {
    pub async fn find_key(&self, hash: KeyHash) -> Result<Option<FoundKey>, StoreError> {
        todo!()
    }

    pub async fn has_foreign_keys(&self) -> Result<bool, StoreError> {
        todo!()
    }

    pub async fn get_key(&self, key_id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        todo!()
    }

    pub async fn list_keys(&self, filter: &KeyFilter) -> Result<KeyListing, StoreError> {
        todo!()
    }
}
