//! stub

use super::PostgresStore;
use crate::store::{MigrationStatus, StoreError};

impl PostgresStore {
    pub async fn ensure_migrated(&self) -> Result<(), StoreError> {
        todo!()
    }

    pub async fn migrate_up(&self) -> Result<Vec<&'static str>, StoreError> {
        todo!()
    }

    pub async fn migrate_down(&self) -> Result<Vec<&'static str>, StoreError> {
        todo!()
    }

    pub async fn migration_status(&self) -> Result<MigrationStatus, StoreError> {
        todo!()
    }
}
