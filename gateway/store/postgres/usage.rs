//! stub

use super::PostgresStore;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::store::{JournalPosition, KeyUsage, StoreError, UsageRow};

impl PostgresStore {
    pub async fn usage_position(&self, spool_id: &str) -> Result<Option<JournalPosition>, StoreError> {
        todo!()
    }

    pub async fn write_usage(
        &self,
        spool_id: &str,
        after: Option<JournalPosition>,
        upto: JournalPosition,
        rows: Vec<UsageRow>,
    ) -> Result<JournalPosition, StoreError> {
        todo!()
    }

    pub async fn touch_last_used(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), StoreError> {
        todo!()
    }

    pub async fn usage_top(&self, since: Timestamp, limit: usize) -> Result<Vec<KeyUsage>, StoreError> {
        todo!()
    }

    pub async fn count_usage_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        todo!()
    }

    pub async fn delete_usage_before(&self, before: Timestamp, max_rows: usize) -> Result<usize, StoreError> {
        todo!()
    }
}
