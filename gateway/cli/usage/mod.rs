//! `usage`: one file for each thing that can be asked of it.

mod deliver;
mod export;
mod series;
mod show;
mod top;

use clap::{Args, Subcommand};

use super::tools::Tools;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::store::UsageFilter;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The keys with the most requests
    #[command(after_help = top::EXAMPLE)]
    Top(top::TopArgs),
    /// How much was requested in each step of time
    #[command(after_help = series::NOTES)]
    Series(series::SeriesArgs),
    /// What one key was used for, and from where
    #[command(after_help = show::EXAMPLE)]
    Show(show::ShowArgs),
    /// Write the rows out, as CSV or as lines of JSON
    #[command(after_help = export::NOTES)]
    Export(export::ExportArgs),
    /// Bring to the store what a gateway that never comes back has left in its spool
    #[command(after_help = deliver::NOTES)]
    Deliver(deliver::DeliverArgs),
}

pub async fn run(command: Command, tools: &Tools) -> anyhow::Result<()> {
    match command {
        Command::Top(args) => top::run(&args, tools).await,
        Command::Series(args) => series::run(&args, tools).await,
        Command::Show(args) => show::run(&args, tools).await,
        Command::Export(args) => export::run(&args, tools).await,
        Command::Deliver(args) => deliver::run(&args, tools).await,
    }
}

/// Which requests count.
#[derive(Debug, Args)]
struct Which {
    /// Only requests of this key
    #[arg(long, value_name = "KEY_ID")]
    key: Option<KeyId>,
    /// Only requests for this path, as it is recorded: whole, without its query
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Only requests that were answered so: 404
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(100..=599))]
    status: Option<u16>,
}

impl Which {
    fn filter(&self, since: Timestamp, until: Timestamp) -> UsageFilter {
        UsageFilter { since, until, key_id: self.key.clone(), endpoint: self.path.clone(), status: self.status }
    }
}
