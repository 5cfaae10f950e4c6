//! Looks after the usage in the store: there is room for what comes, and what is past its retention goes, a little at a time.

use std::time::Duration;

use crate::clock;
use crate::drain::Tasks;
use crate::store::Store;

/// Rows deleted at once: some milliseconds of the store's time.
const BATCH: usize = 1_000;
/// Rest after a batch, as a multiple of the time it took, so that the store is left to others most of the time.
const REST: u32 = 4;
/// From finding nothing more to do, or no store, to looking again.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

pub async fn run(store: Store, retention: Duration, tasks: Tasks) {
    while !tasks.is_stopping() {
        if let Err(error) = store.make_room_for_usage(clock::now()).await {
            tracing::warn!(%error, "the store cannot be made ready now for the usage to come");
        }
        let pause = delete_some(&store, retention).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = tasks.stopping() => {}
        }
    }
}

/// Returns when to look again.
async fn delete_some(store: &Store, retention: Duration) -> Duration {
    let start = clock::monotonic();
    match store.delete_usage_before(clock::now().minus(retention), BATCH).await {
        Ok(deleted) if deleted >= BATCH => start.elapsed() * REST,
        Ok(_) => LOOK_AGAIN,
        Err(error) => {
            tracing::warn!(%error, "usage past its retention cannot be deleted now");
            LOOK_AGAIN
        }
    }
}
