//! What the background does twice a second: it tells the authority what was spent, gives back what nobody uses or others
//! need, and finds out whether an authority that was away can be asked again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::cell::Cell;
use super::lease::Report;
use super::redis::News;
use super::{AuthorityError, LEASES_AT_ONCE, Limiter, PATIENCE};
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
            if let Err(error) = self.authority.settle_left_over(of_earlier_run, &self.spool_id).await {
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
        if !self.beat().await {
            return;
        }
        for some in cells.chunks(LEASES_AT_ONCE) {
            let now = clock::now();
            let reports: Vec<_> = some.iter().filter_map(|cell| Some((&**cell, cell.report(now, idle)?))).collect();
            if !reports.is_empty() && !self.settle(&reports).await {
                return;
            }
        }
    }

    /// Whether the authority answered.
    async fn beat(&self) -> bool {
        let asked_at = clock::monotonic();
        let outcome = self.authority.beat(&self.spool_id).await;
        if let Ok(gateways) = outcome {
            self.gateways.store(gateways, Ordering::Relaxed);
        }
        self.judge(asked_at, &outcome)
    }

    /// Whether the authority answered.
    async fn settle(&self, reports: &[(&Cell, Report)]) -> bool {
        let news: Vec<News> = reports.iter().map(|(cell, report)| (cell.key_id().clone(), *report)).collect();
        let asked_at = clock::monotonic();
        let outcome = self.authority.settle(&self.spool_id, &news).await;
        match &outcome {
            Ok(wanted_back) => {
                for ((cell, report), is_wanted_back) in reports.iter().zip(wanted_back) {
                    cell.confirmed(report, *is_wanted_back);
                }
            }
            Err(_) => reports.iter().for_each(|(cell, report)| cell.unconfirmed(report)),
        }
        self.judge(asked_at, &outcome)
    }

    /// After an answer in good time requests ask again; after none they do not.
    fn judge<T>(&self, asked_at: Instant, outcome: &Result<T, AuthorityError>) -> bool {
        match outcome {
            Ok(_) if clock::monotonic() - asked_at < PATIENCE => self.found(),
            Ok(_) => {}
            Err(error) => self.lost(error),
        }
        outcome.is_ok()
    }
}
