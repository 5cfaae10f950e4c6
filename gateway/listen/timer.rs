//! One timer for every deadline of a connection that works, and the patience with one that does nothing.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep, sleep_until};

use super::connection::DRAIN_IDLE;
use crate::proxy::worker::Worker;

/// Set again only for an earlier deadline: a later one is seen when it fires.
pub struct Timer<'a> {
    sleep: Pin<&'a mut Sleep>,
    armed: Option<Instant>,
}

impl<'a> Timer<'a> {
    pub fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self { sleep, armed: None }
    }

    /// Ready at `deadline`, or at an earlier one that was asked for before.
    pub fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            self.sleep.as_mut().reset(deadline.into());
        } else if !self.sleep.is_elapsed() {
            // It will wake this task: it was polled when it was set.
            return Poll::Pending;
        }
        let fired = self.sleep.as_mut().poll(context);
        if fired.is_ready() {
            self.armed = None;
        }
        fired
    }
}

/// Returns at `deadline` (`None`: never), or a while after the gateway began to drain.
pub async fn impatience(deadline: Option<Instant>, worker: &Worker) {
    let overdue = async {
        match deadline {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    let drained = async {
        worker.tasks.stopping().await;
        sleep(DRAIN_IDLE).await;
    };
    tokio::select! {
        () = overdue => {}
        () = drained => {}
    }
}
