//! Follows the change log by looking at it many times a second.
//!
//! What must stay true here: a version is reported as seen only after everything up to it was applied.

use std::time::Duration;

use super::connections::SqliteStore;
use crate::clock;
use crate::store::{Change, News, StoreError};

/// A change is promised to be seen within half a second.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a gateway says that it lives, where nothing changes. In looks.
const REPORT_EVERY: u32 = 10;
/// How often old rows of the change log are removed. In looks.
const PRUNE_EVERY: u32 = 3_000;
/// Longer than any gateway is left behind without being told that everything is stale.
const KEEP_CHANGES: Duration = Duration::from_hours(1);

#[derive(Debug)]
pub struct SqliteFeed {
    store: SqliteStore,
    gateway_id: String,
    looks: u32,
    /// Up to where changes were applied; `None` at the beginning.
    applied: Option<i64>,
    /// Up to where they were told.
    told: i64,
}

impl SqliteFeed {
    pub fn new(store: SqliteStore, gateway_id: &str) -> Self {
        Self { store, gateway_id: gateway_id.to_owned(), looks: 0, applied: None, told: 0 }
    }

    /// What was told and not applied is told again.
    pub async fn next(&mut self) -> Result<News, StoreError> {
        if self.looks > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.looks = self.looks.wrapping_add(1);
        let contact = clock::monotonic();
        let Some(applied) = self.applied else {
            self.told = self.store.change_cursor().await?;
            return Ok(News { contact, changes: vec![Change::Anything] });
        };
        let log = self.store.changes_since(applied).await?;
        self.told = log.upto;
        Ok(News { contact, changes: log.changes })
    }

    pub async fn applied(&mut self) -> Result<(), StoreError> {
        let moved = self.applied.replace(self.told) != Some(self.told);
        if moved || self.looks.is_multiple_of(REPORT_EVERY) {
            self.store.report_gateway(&self.gateway_id, self.told).await?;
        }
        if self.looks.is_multiple_of(PRUNE_EVERY) {
            self.store.prune_changes(clock::now().minus(KEEP_CHANGES)).await?;
        }
        Ok(())
    }
}
