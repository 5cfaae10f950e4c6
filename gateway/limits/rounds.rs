//! What the background does twice a second: it tells the authority what was spent, gives back what nobody uses or others
//! need, and finds out whether an authority that was away can be asked again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::cell::SharedCell;
use super::{AuthorityError, LEASES_AT_ONCE, Limiter, PATIENCE};
use crate::clock;
use crate::model::lease::{News, Report};

const BETWEEN_ROUNDS: Duration = Duration::from_millis(500);
/// With the pause between rounds, and time for the round itself: what is not used goes back within a second.
const IDLE: Duration = Duration::from_millis(400);

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
    pub(super) async fn round(self: &Arc<Self>, idle: Duration) {
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

    async fn tell(self: &Arc<Self>, cells: &[SharedCell], idle: Duration) {
        if !self.beat().await {
            return;
        }
        for some in cells.chunks(LEASES_AT_ONCE) {
            self.take_back(some).await;
            let Some(wanted_back) = self.settle(some, idle).await else { return };
            // Their ends are told at once: somebody waits for them.
            if self.settle(&wanted_back, idle).await.is_none() {
                return;
            }
        }
    }

    /// What questions without an answer may have brought.
    async fn take_back(self: &Arc<Self>, cells: &[SharedCell]) {
        let now = clock::now();
        let questions = cells.iter().filter_map(|cell| Some(self.under_way(cell, cell.ask_to_take_back(now)?).exchange()));
        join_all(questions).await;
    }

    /// Whether the authority answered.
    async fn beat(&self) -> bool {
        let asked_at = clock::monotonic();
        let outcome = self.authority.beat(&self.spool_id).await;
        if let Ok(fleet) = outcome {
            *self.fleet() = fleet;
        }
        self.judge(asked_at, &outcome)
    }

    /// Those whose lease is wanted back, and is over now. `None`: the authority did not answer.
    async fn settle(&self, cells: &[SharedCell], idle: Duration) -> Option<Vec<SharedCell>> {
        let (now, asked_at) = (clock::now(), clock::monotonic());
        let reports: Vec<(_, Report)> = cells.iter().filter_map(|cell| Some((cell, cell.report(now, idle)?))).collect();
        if reports.is_empty() {
            return Some(Vec::new());
        }
        let news: Vec<News> = reports.iter().map(|(cell, report)| (cell.key_id().clone(), *report)).collect();
        let outcome = self.authority.settle(&self.spool_id, news).await;
        self.judge(asked_at, &outcome);
        let Ok(wanted_back) = outcome else {
            for (cell, report) in reports {
                cell.unconfirmed(&report);
            }
            return None;
        };
        let mut over = Vec::new();
        for ((cell, report), is_wanted_back) in reports.into_iter().zip(wanted_back) {
            cell.confirmed(&report, is_wanted_back);
            if is_wanted_back {
                over.push(cell.clone());
            }
        }
        Some(over)
    }

    /// After an answer in good time requests ask again; after none they do not. Whether there was one.
    fn judge<T>(&self, asked_at: Instant, outcome: &Result<T, AuthorityError>) -> bool {
        match outcome {
            Ok(_) if clock::monotonic() - asked_at < PATIENCE => self.found(),
            Ok(_) => {}
            Err(error) => self.lost(error),
        }
        outcome.is_ok()
    }
}
