//! What the background does twice a second: it tells the store what was spent, gives back what nobody uses, and finds out
//! whether a store that was away can be asked again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cell::Cell;
use super::lease::Report;
use super::{LEASES_AT_ONCE, Limiter, PATIENCE, left_over};
use crate::clock;

const BETWEEN_ROUNDS: Duration = Duration::from_millis(500);
/// With the pause between rounds: what is not used goes back within a second.
const IDLE: Duration = Duration::from_millis(500);

impl Limiter {
    pub(super) async fn start_rounds(self: &Arc<Self>) {
        self.round(IDLE).await;
        let limiter = Arc::clone(self);
        self.tasks.spawn_on(&self.background, async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(BETWEEN_ROUNDS) => limiter.round(IDLE).await,
                    () = limiter.tasks.stopping() => return,
                }
            }
        });
    }

    /// Leases that nothing was taken of for `idle` end.
    pub(super) async fn round(&self, idle: Duration) {
        let mut left_over = self.left_over.lock().await;
        if let Some(of_earlier_run) = &*left_over {
            if let Err(error) = left_over::settle(of_earlier_run, &self.spool_id, &self.store).await {
                return self.lost(&error);
            }
            self.file.clear();
            *left_over = None;
        }
        self.file.retry();
        let mut cells = std::mem::take(&mut *self.active());
        self.tell(&cells, idle).await;
        cells.retain(|cell| !cell.retire());
        self.active().append(&mut cells);
    }

    async fn tell(&self, cells: &[Arc<Cell>], idle: Duration) {
        for some in cells.chunks(LEASES_AT_ONCE) {
            let now = clock::now();
            let reports: Vec<_> = some.iter().filter_map(|cell| Some((&**cell, cell.report(now, idle)?))).collect();
            if !reports.is_empty() && !self.settle(&reports).await {
                return;
            }
        }
        if self.is_away.load(Ordering::Relaxed) {
            self.settle(&[]).await;
        }
    }

    /// Whether the store answered. If it did so in good time, requests ask it again.
    async fn settle(&self, reports: &[(&Cell, Report)]) -> bool {
        let leases = reports.iter().filter_map(|(_, report)| report.lease).collect();
        let debts = reports.iter().filter_map(|(cell, report)| Some((cell.key_id().clone(), report.debt?))).collect();
        let asked_at = clock::monotonic();
        let outcome = self.store.settle_leases(leases, debts).await;
        for (cell, report) in reports {
            if outcome.is_ok() { cell.confirmed(report) } else { cell.unconfirmed(report) }
        }
        match &outcome {
            Ok(()) if clock::monotonic() - asked_at < PATIENCE => self.found(),
            Ok(()) => {}
            Err(error) => self.lost(error),
        }
        outcome.is_ok()
    }
}
