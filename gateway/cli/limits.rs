//! `limits`: what a key has used of its hour.

use clap::Subcommand;

use super::output;
use super::tools::Tools;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::reports::hour::HourUsage;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a key has used this hour, true to within two seconds
    Show {
        /// As `keys list` shows it
        key_id: KeyId,
    },
    /// Let a key begin its hour anew, on every gateway
    Reset {
        /// As `keys list` shows it
        key_id: KeyId,
    },
}

pub async fn run(command: Command, tools: &Tools) -> anyhow::Result<()> {
    let usage = match command {
        Command::Show { key_id } => tools.backend.hour(&key_id).await?,
        Command::Reset { key_id } => tools.backend.reset_hour(&key_id).await?,
    };
    tools.output.print(&usage, || in_words(&usage))
}

fn in_words(usage: &HourUsage) -> String {
    let number = |count: Option<u64>| count.map_or("no limit".to_owned(), |count| count.to_string());
    output::fields([
        ("Per hour", number(usage.limit)),
        ("Used", usage.used.to_string()),
        ("Remaining", number(usage.remaining)),
        ("Starts again (UTC)", output::time(Timestamp::from_secs(usage.reset))),
    ])
}
