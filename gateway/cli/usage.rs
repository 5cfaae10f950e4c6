//! `usage`: who uses the gateway, and what one that is gone has not delivered of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use tracing::info;

use super::failure::Advice;
use super::output;
use super::tools::Tools;
use crate::spool::{Spool, SpoolError};
use crate::store::KeyUsage;
use crate::units::parse_duration;
use crate::{clock, limits, usage};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The keys with the most requests
    #[command(after_help = "Example:\n  hokusai-gateway usage top --since 7d --limit 3")]
    Top(TopArgs),
    /// Bring to the store what a gateway that never comes back has left in its spool
    #[command(after_help = DELIVER_NOTES)]
    Deliver {
        /// Its `usage.spool`, or a copy of it that no gateway uses
        folder: PathBuf,
    },
}

const DELIVER_NOTES: &str = "\
Its usage becomes rows, and what it held of hourly limits and had not spent goes
back. Nothing is written twice, however often this is run. The folder stays.

Example:
  hokusai-gateway usage deliver /mnt/lost-host/hokusai-gateway/spool";

#[derive(Debug, Args)]
pub struct TopArgs {
    /// How far back to look
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = parse_duration)]
    since: Duration,
    /// How many keys to show
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = at_least_one())]
    limit: usize,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

pub async fn run(command: Command, tools: &Tools) -> anyhow::Result<()> {
    match command {
        Command::Top(args) => top(&args, tools).await,
        Command::Deliver { folder } => deliver(&folder, tools).await,
    }
}

async fn top(args: &TopArgs, tools: &Tools) -> anyhow::Result<()> {
    let keys = tools.store.usage_top(clock::now().minus(args.since), args.limit).await?;
    let answer: Vec<KeyOfTop<'_>> = keys.iter().map(KeyOfTop::of).collect();
    tools.output.print(&answer, || in_words(&keys))
}

#[derive(Serialize)]
struct KeyOfTop<'a> {
    name: &'a str,
    user_id: &'a str,
    request_count: u64,
    avg_response_time_ms: f64,
}

impl<'a> KeyOfTop<'a> {
    fn of(usage: &'a KeyUsage) -> Self {
        Self {
            name: &usage.name,
            user_id: &usage.user_id,
            request_count: usage.request_count,
            avg_response_time_ms: usage.avg_response_time_ms,
        }
    }
}

fn in_words(keys: &[KeyUsage]) -> String {
    if keys.is_empty() {
        return "No requests.".to_owned();
    }
    let row = |usage: &KeyUsage| {
        let average = format!("{:.1}", usage.avg_response_time_ms);
        [usage.name.clone(), usage.user_id.clone(), usage.request_count.to_string(), average]
    };
    output::table(["NAME", "USER", "REQUESTS", "AVERAGE MS"], keys.iter().map(row))
}

async fn deliver(folder: &Path, tools: &Tools) -> anyhow::Result<()> {
    let spool = Spool::open_left(folder).map_err(in_use_is_no_fault)?;
    tools.store.ensure_migrated().await?;
    let leases_settled = limits::settle_spool(&spool, &tools.authority().await).await?;
    let usage = usage::deliver(&spool, &tools.store, &tools.config.usage).await?;
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
