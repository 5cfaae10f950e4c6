//! Tasks that are waited for, and the signal that ends them.
//!
//! What must stay true here: every task of the gateway is spawned through a [`Tasks`], so its owner can say "stop" and
//! then wait until all have. Nothing is spawned and forgotten.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An owner of tasks. Clones share the same tasks and the same signal.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// The same as the token says, without its lock: it is looked at several times a request.
    is_stopping: Arc<AtomicBool>,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns on the runtime of the caller.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Spawns on another runtime.
    pub fn spawn_on(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(task, runtime);
    }

    /// Tells every task to come to its end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.stop.cancel();
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Returns once [`stop`](Self::stop) was called.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until all have ended, at most `limit`. Returns how many had not.
    pub async fn wait(&self, limit: Duration) -> usize {
        self.tracker.close();
        match tokio::time::timeout(limit, self.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tracker.len(),
        }
    }
}
