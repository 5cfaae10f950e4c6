//! `cleanup`: what time has ended goes.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tracing::info;

use super::output::counted;
use super::tools::Tools;
use crate::clock;
use crate::model::timestamp::Timestamp;
use crate::store::{Store, StoreError};
use crate::units::{format_duration, parse_duration};

pub const EXAMPLES: &str = "\
Example, as a line of a crontab:
  15 3 * * *  hokusai-gateway cleanup --usage-older-than 30d";

/// Rows deleted at once: few enough that a gateway that wants to write waits some milliseconds only.
const BATCH: usize = 5_000;

#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Which usage to delete [default: usage.retention of the configuration, 30d]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    usage_older_than: Option<Duration>,
}

pub async fn run(args: &CleanupArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let backend = tools.backend.store("cleanup")?;
    let store = &backend.store;
    let keys_deactivated = store.deactivate_expired(now).await?;
    backend.seal_events().await;
    // Gateways that do not own the tables leave the partitions of the days to come to whoever does.
    store.make_room_for_usage(now).await?;
    let age = args.usage_older_than.unwrap_or(tools.config.usage.retention);
    let usage_deleted = delete_usage(store, now.minus(age)).await?;
    info!(keys_deactivated, usage_deleted, "cleaned up");
    let done = Cleaned { keys_deactivated, usage_deleted };
    tools.output.print(&done, || {
        let keys = counted(keys_deactivated as u64, "expired key");
        let rows = counted(usage_deleted, "row");
        format!("Deactivated {keys}.\nDeleted {rows} of usage older than {}.", format_duration(age))
    })
}

#[derive(Serialize)]
struct Cleaned {
    keys_deactivated: usize,
    usage_deleted: u64,
}

async fn delete_usage(store: &Store, before: Timestamp) -> Result<u64, StoreError> {
    // Shown where stderr is a terminal only.
    let progress = ProgressBar::new(store.count_usage_before(before).await?).with_style(style());
    let mut total = 0;
    loop {
        let deleted = store.delete_usage_before(before, BATCH).await?;
        if deleted == 0 {
            break;
        }
        total += deleted as u64;
        progress.inc(deleted as u64);
    }
    progress.finish_and_clear();
    Ok(total)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("deleting old usage {wide_bar} {human_pos}/{human_len} rows, {eta} to go")
        .expect("the template is well-formed")
}
