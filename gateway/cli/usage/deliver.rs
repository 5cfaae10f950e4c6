//! `usage deliver`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tracing::info;

use crate::cli::failure::Advice;
use crate::cli::output;
use crate::cli::tools::Tools;
use crate::spool::{Spool, SpoolError};
use crate::{limits, usage};

pub const NOTES: &str = "\
Its usage becomes rows, and what it held of hourly limits and had not spent goes
back. Nothing is written twice, however often this is run. The folder stays.

Example:
  hokusai-gateway usage deliver /mnt/lost-host/hokusai-gateway/spool";

#[derive(Debug, Args)]
pub struct DeliverArgs {
    /// Its `usage.spool`, or a copy of it that no gateway uses
    folder: PathBuf,
}

pub async fn run(args: &DeliverArgs, tools: &Tools) -> anyhow::Result<()> {
    let backend = tools.backend.store("usage deliver")?;
    let spool = Spool::open_left(&args.folder).map_err(in_use_is_no_fault)?;
    let store = backend.tables().await?;
    let leases_settled = limits::settle_spool(&spool, &backend.authority().await).await?;
    let usage = usage::deliver(&spool, store, &tools.config.usage).await?;
    let done = Delivery { spool_id: spool.id(), written: usage.written, dropped: usage.dropped, leases_settled };
    info!(spool_id = done.spool_id, done.written, done.dropped, leases_settled, "a spool was delivered");
    tools.output.print(&done, || done.in_words())
}

fn in_use_is_no_fault(error: SpoolError) -> anyhow::Error {
    match error {
        SpoolError::InUse(folder) => anyhow::Error::new(Advice {
            says: format!("the spool {} is in use by a gateway that runs", folder.display()),
            hint: "that gateway delivers it; stop it first if it shall not".to_owned(),
        }),
        other => other.into(),
    }
}

#[derive(Serialize)]
struct Delivery<'a> {
    spool_id: &'a str,
    written: u64,
    dropped: u64,
    leases_settled: usize,
}

impl Delivery<'_> {
    fn in_words(&self) -> String {
        let rows = output::counted(self.written, "row");
        let leases = output::counted(self.leases_settled as u64, "lease");
        let dropped = match self.dropped {
            0 => String::new(),
            records => format!("\nLeft out {}, damaged or past retention.", output::counted(records, "record")),
        };
        format!("Delivered {rows} of usage.\nSettled {leases}.{dropped}")
    }
}
