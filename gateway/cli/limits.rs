//! `limits`: what a key has used of its hour.

use clap::Subcommand;
use serde::Serialize;
use tracing::info;

use super::output;
use super::tools::Tools;
use crate::keyring;
use crate::model::ids::KeyId;
use crate::model::quota::HourWindow;
use crate::model::timestamp::Timestamp;

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
    let key_id = match command {
        Command::Show { key_id } => key_id,
        Command::Reset { key_id } => {
            keyring::show(&tools.store, &key_id).await?;
            tools.authority().await.reset_hour(&key_id).await?;
            info!(%key_id, "limit reset");
            key_id
        }
    };
    show(&key_id, tools).await
}

async fn show(key_id: &KeyId, tools: &Tools) -> anyhow::Result<()> {
    let record = keyring::show(&tools.store, key_id).await?;
    let (now, used) = tools.authority().await.hour_usage(key_id).await?;
    let usage = HourUsage::new(record.rate_limit_per_hour, used, now);
    tools.output.print(&usage, || usage.in_words())
}

#[derive(Debug, PartialEq, Serialize)]
struct HourUsage {
    /// Per hour; `None` for no limit, and then nothing remains or is used up either.
    limit: Option<u64>,
    used: u64,
    remaining: Option<u64>,
    /// Unix seconds of the next full hour.
    reset: u64,
}

impl HourUsage {
    fn new(limit: Option<u64>, used: u64, now: Timestamp) -> Self {
        let remaining = limit.map(|limit| limit.saturating_sub(used));
        Self { limit, used, remaining, reset: HourWindow::containing(now).end().as_secs() }
    }

    fn in_words(&self) -> String {
        let number = |count: Option<u64>| count.map_or("no limit".to_owned(), |count| count.to_string());
        output::fields([
            ("Per hour", number(self.limit)),
            ("Used", self.used.to_string()),
            ("Remaining", number(self.remaining)),
            ("Starts again (UTC)", output::time(Timestamp::from_secs(self.reset))),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_remains_of_a_limit_that_was_lowered_below_what_is_used() {
        let usage = HourUsage::new(Some(10), 12, Timestamp::from_secs(3601));
        assert_eq!(usage, HourUsage { limit: Some(10), used: 12, remaining: Some(0), reset: 7200 });
    }
}
