//! Deletes usage past its retention, a little at a time.

use std::time::Duration;

use crate::clock;
use crate::drain::Tasks;
use crate::store::Store;

/// Rows deleted at once: some milliseconds of the store's time.
const BATCH: usize = 1_000;
/// Rest after a batch, as a multiple of the time it took, so that the store is left to others most of the time.
const REST: u32 = 4;
/// From finding nothing more, or no store, to looking again.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

pub async fn run(store: Store, retention: Duration, tasks: Tasks) {
    while !tasks.is_stopping() {
        let start = clock::monotonic();
        let pause = match store.delete_usage_before(clock::now().minus(retention), BATCH).await {
            Ok(deleted) if deleted == BATCH => start.elapsed() * REST,
            Ok(_) => LOOK_AGAIN,
            Err(error) => {
                tracing::warn!(%error, "usage past its retention cannot be deleted now");
                LOOK_AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = tasks.stopping() => {}
        }
    }
}
