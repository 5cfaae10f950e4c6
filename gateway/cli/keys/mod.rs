//! `keys`: one file for each thing that can be done with a key.

mod create;
mod import;
mod list;
mod revoke;
mod rotate;
mod shown;
mod update;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::tools::Tools;
use super::values;
use crate::model::timestamp::Timestamp;
use crate::units::parse_duration;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key and print it, the only time it can be seen
    #[command(after_help = create::EXAMPLES)]
    Create(create::CreateArgs),
    /// Bring keys from elsewhere: their texts, SHA-256 or bcrypt hashes, as CSV or JSON lines
    #[command(after_help = import::NOTES)]
    Import(import::ImportArgs),
    /// List keys, the oldest first
    #[command(after_help = list::EXAMPLES)]
    List(list::ListArgs),
    /// Show one key
    Show(list::ShowArgs),
    /// Change what is set for a key
    #[command(after_help = update::EXAMPLES, override_usage = update::USAGE)]
    Update(update::UpdateArgs),
    /// End a key for good, with every secret it has
    #[command(after_help = revoke::NOTES)]
    Revoke(revoke::RevokeArgs),
    /// Give a key, or all that are due, a new secret; id, settings, count and usage stay
    #[command(after_help = rotate::NOTES, override_usage = rotate::USAGE)]
    Rotate(rotate::RotateArgs),
}

pub async fn run(command: Command, tools: &Tools) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create::run(args, tools).await,
        Command::Import(args) => import::run(args, tools).await,
        Command::List(args) => list::run(args, tools).await,
        Command::Show(args) => list::show(&args, tools).await,
        Command::Update(args) => update::run(args, tools).await,
        Command::Revoke(args) => revoke::run(&args, tools).await,
        Command::Rotate(args) => rotate::run(&args, tools).await,
    }
}

#[derive(Debug, Args)]
struct Expiry {
    /// When it ends, from now on: 12h, 30d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,
    /// When it ends: 2027-01-31T12:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = values::instant)]
    expires_at: Option<Timestamp>,
}

impl Expiry {
    fn instant(&self, now: Timestamp) -> Option<Timestamp> {
        self.expires_at.or_else(|| self.expires_in.map(|duration| now.plus(duration)))
    }
}
