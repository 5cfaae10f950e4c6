//! What a gateway that was killed held on lease, settled as its spool tells: what was opened counts as spent, the rest goes back.

use std::io;

use super::lease_file::LeaseFile;
use super::{Authority, AuthorityError};
use crate::spool::Spool;

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
