//! Follows the store's change log, so that what is held here is never older than the last look at it.
//!
//! What must stay true here: a version is reported as seen only after everything up to it was forgotten here.

use std::sync::Arc;
use std::time::Duration;

use super::lookup::Lookup;
use crate::clock;
use crate::drain::Tasks;
use crate::limits::Limiter;
use crate::observe::metrics::Metrics;
use crate::store::{Change, Changed, Store, StoreError};

/// A change is promised to be seen within half a second.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a gateway says that it lives, where nothing changes.
const REPORT_EVERY: u32 = 20;
/// How often old rows of the change log are removed, in looks.
const PRUNE_EVERY: u32 = 6_000;
/// Longer than any gateway is left behind without being told that everything is stale.
const KEEP_CHANGES: Duration = Duration::from_hours(1);

/// One gateway's reader of the change log.
pub struct Watch {
    pub gateway_id: String,
    pub store: Store,
    pub lookup: Arc<Lookup>,
    pub limiter: Arc<Limiter>,
    pub metrics: Arc<Metrics>,
}

impl Watch {
    /// Runs until `tasks` stop.
    pub async fn run(self, tasks: Tasks) {
        let mut cursor = None;
        let mut looks: u32 = 0;
        while !tasks.is_stopping() {
            match self.look(&mut cursor, looks).await {
                Ok(()) => self.set_up(true, None),
                Err(error) => self.set_up(false, Some(&error)),
            }
            looks = looks.wrapping_add(1);
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = tasks.stopping() => {}
            }
        }
        let _ = self.store.forget_gateway(&self.gateway_id).await;
    }

    /// The first look takes its place in the log *before* it forgets everything, so nothing falls between.
    async fn look(&self, cursor: &mut Option<i64>, looks: u32) -> Result<(), StoreError> {
        let Some(seen) = *cursor else {
            let start = self.store.change_cursor().await?;
            self.forget_all().await?;
            *cursor = Some(start);
            return self.report(start).await;
        };
        let changes = self.store.changes_since(seen).await?;
        self.lookup.in_contact();
        if changes.upto != seen {
            match changes.changed {
                Changed::These(changes) => self.apply(changes).await?,
                Changed::Anything => self.forget_all().await?,
            }
            *cursor = Some(changes.upto);
        }
        if changes.upto != seen || looks.is_multiple_of(REPORT_EVERY) {
            self.report(changes.upto).await?;
        }
        if looks.is_multiple_of(PRUNE_EVERY) {
            self.store.prune_changes(clock::now().minus(KEEP_CHANGES)).await?;
        }
        Ok(())
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        for change in changes {
            match change {
                Change::Key(hash) => self.lookup.forget(&hash),
                Change::Limit(key_id) => self.limiter.reset(&key_id),
            }
        }
        self.look_for_foreign_keys().await
    }

    async fn forget_all(&self) -> Result<(), StoreError> {
        self.lookup.forget_all();
        self.limiter.reset_all();
        self.look_for_foreign_keys().await
    }

    async fn look_for_foreign_keys(&self) -> Result<(), StoreError> {
        self.lookup.set_foreign(self.store.has_foreign_keys().await?);
        Ok(())
    }

    /// Others only wait for this in `keys revoke --wait`; a store that cannot be written to must not stop the reading.
    async fn report(&self, version: i64) -> Result<(), StoreError> {
        if let Err(error) = self.store.report_gateway(&self.gateway_id, version).await {
            tracing::debug!(%error, "this gateway could not report itself");
        }
        Ok(())
    }

    fn set_up(&self, up: bool, error: Option<&StoreError>) {
        let was_up = self.metrics.store_up.get() == 1;
        match error {
            Some(error) if was_up => tracing::error!(%error, "the store cannot be asked; known keys go on"),
            None if !was_up => tracing::info!("the store answers"),
            _ => {}
        }
        self.metrics.store_up.set(u64::from(up));
    }
}
