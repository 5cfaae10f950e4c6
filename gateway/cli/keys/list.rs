//! `keys list` and `keys show`

use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::shown::{Listed, details, overview};
use crate::cli::backend::Keys;
use crate::cli::tools::Tools;
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::store::KeyFilter;
use crate::units::parse_duration;

pub const EXAMPLES: &str = "\
Examples:
  hokusai-gateway keys list --user ann --active
  hokusai-gateway keys list --older-than 90d --json | jq -r '.[].key_id'";

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only keys of this user; empty for those of all
    #[arg(long, env = "HOKUSAI_USER_ID", hide_env_values = true)]
    user: Option<String>,
    /// Only keys that can be used now: neither disabled, revoked nor expired
    #[arg(long)]
    active: bool,
    /// Only keys created longer ago than this: 90d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// As `keys list` shows it
    key_id: KeyId,
}

pub async fn run(args: ListArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let listing = tools.backend.list(&args.filter(now)).await?;
    let listed: Vec<Listed<'_>> = listing.keys.iter().map(Listed::of).collect();
    tools.output.print(&listed, || match listing.keys.is_empty() {
        true => "No keys.".to_owned(),
        false => overview(&listing.keys, now),
    })?;
    all_were_readable(&listing)
}

pub async fn show(args: &ShowArgs, tools: &Tools) -> anyhow::Result<()> {
    let record = tools.backend.show(&args.key_id).await?;
    tools.output.print(&Listed::of(&record), || details(&record, clock::now()))
}

impl ListArgs {
    fn filter(&self, now: Timestamp) -> KeyFilter {
        KeyFilter {
            user_id: self.user.as_deref().filter(|user| !user.is_empty()).map(Into::into),
            good_at: self.active.then_some(now),
            created_before: self.older_than.map(|age| now.minus(age)),
            ..KeyFilter::default()
        }
    }
}

/// The others were listed; yet whoever goes through all keys must learn that some are missing.
fn all_were_readable(listing: &Keys) -> anyhow::Result<()> {
    if listing.unreadable.is_empty() {
        return Ok(());
    }
    bail!("the list is not complete, some rows cannot be read:\n  {}", listing.unreadable.join("\n  "))
}
