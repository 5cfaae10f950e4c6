//! Gateways as far as limits go, for tests with any authority.

use tokio::task::JoinSet;

use super::*;
use crate::model::quota::{HourWindow, Quota};

pub const KEY: &str = "key_1";

/// A gateway as far as limits go. Dropped without a word it was killed.
pub struct Gateway {
    pub limiter: Arc<Limiter>,
    pub tasks: Tasks,
    pub spool: Arc<tempfile::TempDir>,
}

impl Gateway {
    pub async fn start(authority: Authority, policy: OnAuthorityFailure, spool: &Arc<tempfile::TempDir>) -> Self {
        let (tasks, id) = (Tasks::new(), spool.path().to_str().unwrap());
        let limiter = Limiter::start(spool.path(), id, authority, policy, tasks.clone(), Handle::current());
        Self { limiter: limiter.await.unwrap(), tasks, spool: Arc::clone(spool) }
    }

    pub async fn fresh(authority: Authority) -> Self {
        Self::start(authority, OnAuthorityFailure::Reject, &Arc::new(tempfile::tempdir().unwrap())).await
    }

    pub async fn killed_and_back(self, authority: Authority) -> Self {
        self.end_tasks().await;
        Self::start(authority, OnAuthorityFailure::Reject, &self.spool).await
    }

    pub async fn restarted(self, authority: Authority) -> Self {
        self.end_tasks().await;
        self.limiter.close().await;
        Self::start(authority, OnAuthorityFailure::Reject, &self.spool).await
    }

    pub async fn end_tasks(&self) {
        self.tasks.stop();
        assert_eq!(self.tasks.wait(Duration::from_secs(10)).await, 0);
    }

    pub async fn request(&self, limit: u64) -> Verdict {
        request(&self.limiter, &self.limiter.cell(&KEY.into()), limit).await
    }

    pub async fn requests(&self, limit: u64, requests: usize) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for _ in 0..requests {
            verdicts.push(self.request(limit).await);
        }
        verdicts
    }

    /// All at once, on threads of their own.
    pub async fn parallel_requests(&self, limit: u64, threads: usize, each: usize) -> Vec<Verdict> {
        let mut workers = JoinSet::new();
        for _ in 0..threads {
            let limiter = Arc::clone(&self.limiter);
            workers.spawn_blocking(move || worker(&limiter, limit, each));
        }
        workers.join_all().await.into_iter().flatten().collect()
    }
}

pub async fn request(limiter: &Arc<Limiter>, cell: &SharedCell, limit: u64) -> Verdict {
    match cell.try_take(limit, clock::now()) {
        Some(verdict) => verdict,
        None => limiter.take(cell, limit).await,
    }
}

fn worker(limiter: &Arc<Limiter>, limit: u64, requests: usize) -> Vec<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut under_way = JoinSet::new();
        for _ in 0..requests {
            let (limiter, cell) = (Arc::clone(limiter), limiter.cell(&KEY.into()));
            under_way.spawn(async move { request(&limiter, &cell, limit).await });
        }
        under_way.join_all().await
    })
}

pub fn admitted(verdicts: &[Verdict]) -> Vec<Quota> {
    let admitted = |verdict: &Verdict| if let Verdict::Admitted(quota) = verdict { Some(*quota) } else { None };
    verdicts.iter().filter_map(admitted).collect()
}

/// What is found out has to be of one hour, else it is found out again.
pub async fn within_one_hour<T>(find_out: impl AsyncFn() -> T) -> T {
    loop {
        let hour = HourWindow::containing(clock::now());
        let facts = find_out().await;
        if HourWindow::containing(clock::now()) == hour {
            return facts;
        }
    }
}
