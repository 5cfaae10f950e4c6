//! What a gateway that was killed held on lease, settled as its spool tells: what was opened counts as spent, the rest goes back.

use std::io;

use super::lease_file::{LeaseFile, LeftOver};
use super::{Authority, AuthorityError, LEASES_AT_ONCE};
use crate::model::lease::{Grant, LeaseReport};
use crate::spool::Spool;
use crate::store::{Store, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error("the file `leases` of the spool cannot be used: {0}")]
    File(#[from] io::Error),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Settles the leases of a gateway that does not run. Returns how many there were.
pub async fn settle_spool(spool: &Spool, authority: &Authority) -> Result<usize, SettleError> {
    let (file, left_over) = LeaseFile::open(spool.folder())?;
    let leases = authority.settle_left_over(&left_over, spool.id()).await?;
    file.clear();
    Ok(leases)
}

pub(super) async fn settle(left_over: &LeftOver, spool_id: &str, store: &Store) -> Result<usize, StoreError> {
    let leases = store.leases_of(spool_id).await?;
    let finished = |lease: &Grant| LeaseReport { id: lease.id, spent: left_over.spent_of(lease), finished: true };
    for some in leases.chunks(LEASES_AT_ONCE) {
        store.settle_leases(some.iter().map(finished).collect(), vec![]).await?;
    }
    Ok(leases.len())
}
