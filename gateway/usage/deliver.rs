//! The journal of a gateway that does not run, brought to the store by somebody else.
//!
//! What must stay true here: it is delivered under its own spool's name, from where that gateway had come to, so that nothing is
//! written twice, whoever delivers and however often.

use std::sync::Arc;

use super::backlog::Backlog;
use super::flush::{FlushError, Flusher};
use crate::config;
use crate::observe::metrics::Metrics;
use crate::spool::Spool;
use crate::store::Store;

/// What became of the records that were not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Rows written to the store.
    pub written: u64,
    /// Records that are damaged, or past their retention.
    pub dropped: u64,
}

/// Writes all that the journal in `spool` holds. After an error the rest is still there, to be delivered again.
pub async fn deliver(spool: &Spool, store: &Store, config: &config::Usage) -> Result<Delivered, FlushError> {
    let metrics = Arc::<Metrics>::default();
    let backlog = Arc::new(Backlog::open(spool.folder(), &metrics)?);
    Flusher::new(backlog, store.clone(), spool.id(), config, Arc::default()).flush(true).await?;
    Ok(Delivered { written: metrics.usage_written.get(), dropped: metrics.usage_dropped.get() })
}
