//! Spools in tests.

use std::time::Duration;

use super::{Spool, SpoolError};
use crate::clock;

/// How long it may take on a busy machine. Hit only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that another test is just starting holds a copy of every lock until it runs its program.
pub fn once_free(open: impl Fn() -> Result<Spool, SpoolError>) -> Spool {
    let deadline = clock::monotonic() + PATIENCE;
    loop {
        match open() {
            Err(SpoolError::InUse(_)) if clock::monotonic() < deadline => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}
