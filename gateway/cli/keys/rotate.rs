//! `keys rotate`

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tracing::info;

use super::create::with_key;
use super::shown::{Shown, details};
use crate::cli::output;
use crate::cli::tools::Tools;
use crate::clock;
use crate::keyring;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::units::parse_duration;

pub const EXAMPLES: &str = "\
The old secrets work until the grace period ends, so that programs can be given
the new one in turn.

Examples:
  hokusai-gateway keys rotate key_0123456789abcdef01234567 --grace 7d
  hokusai-gateway keys rotate key_0123456789abcdef01234567 --grace 0s   # it leaked";

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// As `keys list` shows it
    key_id: KeyId,
    /// How long the secret before goes on working; `0s` ends all old ones at once
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = parse_duration)]
    grace: Duration,
}

pub async fn run(args: &RotateArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let rotated = keyring::rotate(&tools.store, &tools.config.keys.prefix, &args.key_id, args.grace, now).await?;
    info!(key_id = %args.key_id, "key rotated");
    let (key, until) = (rotated.key.expose(), rotated.previous_valid_until);
    let answer = Rotated { key, shown: Shown::of(&rotated.record), previous_valid_until: until.map(Timestamp::to_rfc3339) };
    tools.output.print(&answer, || {
        let previous = until.map_or("The old secrets ended just now.".to_owned(), |until| {
            format!("The secret before works until {} UTC.", output::time(until))
        });
        with_key(key, &format!("{}\n\n{previous}", details(&rotated.record, now)))
    })
}

#[derive(Serialize)]
struct Rotated<'a> {
    key: &'a str,
    #[serde(flatten)]
    shown: Shown<'a>,
    previous_valid_until: Option<String>,
}
