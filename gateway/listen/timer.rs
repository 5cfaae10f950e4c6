//! One timer for every deadline of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

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
        }
        let fired = self.sleep.as_mut().poll(context);
        if fired.is_ready() {
            self.armed = None;
        }
        fired
    }
}
