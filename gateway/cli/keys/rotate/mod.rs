//! `keys rotate`: one key, whose new secret is printed; or, on a schedule, all that are due.

mod delivery;
mod due;
mod folder;
mod program;

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::create::with_key;
use super::shown::{Shown, details};
use crate::cli::output;
use crate::cli::tools::Tools;
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::units::parse_duration;

pub const USAGE: &str = "\
hokusai-gateway keys rotate <KEY_ID> [--grace <DURATION>]
       hokusai-gateway keys rotate --due <DURATION> [--user <USER>] [--grace <DURATION>]
                       <--deliver-to <FOLDER>|--deliver-command <PROGRAM>|--dry-run>";

pub const NOTES: &str = "\
The old secrets work until the grace period ends, so that programs can be given
the new one in turn.

With --due each key is handled alone: the new secret works at once, is
delivered, and only then replaces the one before, whose grace begins. What could
not be delivered is named, the exit status is 1, the others go on; the key keeps
its secret, stays due, and the next run tries again. With --grace 0s the secret
before ends as soon as the new one is delivered: whatever has not taken that up
is refused.

A file is named KEY_ID.json, is for the eyes of its owner only, and appears
whole. A program is started for each key without a shell, reads the same JSON on
stdin, and has two minutes; any exit status but 0 is a failed delivery. What it
writes to stdout is dropped.

Examples:
  hokusai-gateway keys rotate key_0123456789abcdef01234567 --grace 7d
  hokusai-gateway keys rotate key_0123456789abcdef01234567 --grace 0s   # it leaked
  hokusai-gateway keys rotate --due 90d --dry-run
  hokusai-gateway keys rotate --due 90d --grace 7d --deliver-to /var/lib/rotated";

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// As `keys list` shows it
    #[arg(required_unless_present = "due")]
    key_id: Option<KeyId>,
    /// How long the secret before goes on working; `0s` ends all old ones at once
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = parse_duration)]
    grace: Duration,
    #[command(flatten)]
    due: due::DueArgs,
}

pub async fn run(args: &RotateArgs, tools: &Tools) -> anyhow::Result<()> {
    if let Some(key_id) = &args.key_id {
        return rotate_one(key_id, args.grace, tools).await;
    }
    let age = args.due.due.expect("where no KEY_ID is given, --due is required");
    due::run(&args.due, age, args.grace, tools).await
}

async fn rotate_one(key_id: &KeyId, grace: Duration, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let rotated = tools.backend.rotate(key_id, grace, now).await?;
    tools.output.print(&Rotated::of(&rotated.text, &rotated.record, rotated.previous_valid_until), || {
        let previous = rotated.previous_valid_until.map_or("The old secrets ended just now.".to_owned(), |until| {
            format!("The secret before works until {} UTC.", output::time(until))
        });
        with_key(&rotated.text, &format!("{}\n\n{previous}", details(&rotated.record, now)))
    })
}

/// The key with its new text: printed, or delivered.
#[derive(Serialize)]
struct Rotated<'a> {
    key: &'a str,
    #[serde(flatten)]
    shown: Shown<'a>,
    previous_valid_until: Option<String>,
}

impl<'a> Rotated<'a> {
    fn of(key: &'a str, record: &'a KeyRecord, previous_valid_until: Option<Timestamp>) -> Self {
        Self { key, shown: Shown::of(record), previous_valid_until: previous_valid_until.map(Timestamp::to_rfc3339) }
    }
}
