//! `keys rotate --due`: every key whose secret is too old, one after the other. The order of the steps is that of
//! [`keyring::handover`], which says why.
//!
//! What must stay true here: no secret leaves but by the delivery, so none is in what is printed or logged; and a key that fails
//! keeps no other from its turn.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Args};
use serde::Serialize;
use tracing::info;

use super::Shown;
use super::delivery::Delivery;
use crate::cli::backend::StoreBackend;
use crate::cli::failure::Advice;
use crate::cli::output;
use crate::cli::tools::{self, Tools};
use crate::clock;
use crate::keyring::{self, RotatedKey, handover};
use crate::model::ids::UserId;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::KeyFilter;
use crate::units::parse_duration;

/// Each conflicts with KEY_ID by itself: clap does not ask for `--due` where that may not stand.
#[derive(Debug, Args)]
#[command(next_help_heading = "On a schedule")]
#[command(group = ArgGroup::new("delivery").args(["deliver_to", "deliver_command", "dry_run"]).multiple(true))]
pub struct DueArgs {
    /// Instead of one key, every active one whose secret is older than this: 90d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[arg(requires = "delivery", conflicts_with = "key_id")]
    pub(super) due: Option<Duration>,
    /// Only keys of this user; empty for those of all [env: HOKUSAI_USER_ID=]
    // Not clap's `env`: the variable is often set, and would make `keys rotate KEY_ID` bad usage.
    #[arg(long, requires = "due", conflicts_with = "key_id")]
    user: Option<String>,
    /// Write each key with its new secret to a file in this folder, which only you may write to
    #[arg(long, value_name = "FOLDER", requires = "due", conflicts_with_all = ["key_id", "deliver_command"])]
    deliver_to: Option<PathBuf>,
    /// Hand each key with its new secret to this program, on its stdin
    #[arg(long, value_name = "PROGRAM", requires = "due", conflicts_with = "key_id")]
    deliver_command: Option<PathBuf>,
    /// Say which keys are due, and change nothing
    #[arg(long, requires = "due", conflicts_with = "key_id")]
    dry_run: bool,
}

/// `age` is what `--due` says.
pub async fn run(args: &DueArgs, age: Duration, grace: Duration, tools: &Tools) -> anyhow::Result<()> {
    let backend = tools.backend.store("keys rotate --due")?;
    let store = backend.tables().await?;
    // Looked at in a dry run too, and before anything is rotated.
    let delivery = Delivery::open(args.deliver_to.as_deref(), args.deliver_command.as_deref())?;
    let now = clock::now();
    let secret_before = now.minus(age);
    let due = KeyFilter { user_id: args.user(), good_at: Some(now), secret_before: Some(secret_before), ..KeyFilter::default() };
    let listing = keyring::list(store, &due).await?;
    let mut handled = Vec::new();
    for record in listing.keys {
        handled.extend(match &delivery {
            Some(delivery) if !args.dry_run => Rotation { delivery, secret_before, grace, backend }.of(record).await,
            _ => Some(Handled { record, outcome: Outcome::Due }),
        });
    }
    backend.seal_events().await;
    tell(&handled, tools)?;
    let failed = handled.iter().filter_map(Handled::failure);
    nothing_failed(&failed.chain(listing.unreadable.iter().map(ToString::to_string)).collect::<Vec<_>>())
}

impl DueArgs {
    fn user(&self) -> Option<UserId> {
        let user = self.user.clone().or_else(|| tools::environment("HOKUSAI_USER_ID"));
        user.filter(|user| !user.is_empty()).map(Into::into)
    }
}

/// How each key is rotated.
struct Rotation<'a> {
    delivery: &'a Delivery,
    secret_before: Timestamp,
    grace: Duration,
    backend: &'a StoreBackend,
}

impl Rotation<'_> {
    /// `None`: somebody else rotated or ended it since it was listed.
    async fn of(&self, record: KeyRecord) -> Option<Handled> {
        let key_id = record.key_id.clone();
        match self.hand_over(&record).await.transpose()? {
            Ok(RotatedKey { record, previous_valid_until, .. }) => {
                info!(%key_id, "key rotated and delivered");
                Some(Handled { record, outcome: Outcome::Rotated { previous_valid_until } })
            }
            Err(error) => {
                let why = format!("{error:#}");
                info!(%key_id, why, "key not rotated");
                Some(Handled { record, outcome: Outcome::Failed { why } })
            }
        }
    }

    async fn hand_over(&self, record: &KeyRecord) -> anyhow::Result<Option<RotatedKey>> {
        let StoreBackend { store, config } = self.backend;
        let now = clock::now();
        let offer = handover::offer(store, &config.keys.prefix, record, self.secret_before, self.grace, now);
        let Some(offered) = offer.await? else { return Ok(None) };
        self.delivery.deliver(&offered).await?;
        let settled = handover::settle(store, &offered, self.grace, now).await;
        settled.context("its new secret was delivered, but may not have replaced the one before")?;
        Ok(Some(offered))
    }
}

/// A key that was due, as it is now.
struct Handled {
    record: KeyRecord,
    outcome: Outcome,
}

enum Outcome {
    /// Nothing was to be done.
    Due,
    Rotated {
        previous_valid_until: Option<Timestamp>,
    },
    Failed {
        why: String,
    },
}

impl Handled {
    fn failure(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Failed { why } => Some(format!("{}: {why}", self.record.key_id)),
            Outcome::Due | Outcome::Rotated { .. } => None,
        }
    }

    fn line(&self) -> Line<'_> {
        let (outcome, previous_valid_until, error) = match &self.outcome {
            Outcome::Due => ("due", None, None),
            Outcome::Rotated { previous_valid_until } => ("rotated", *previous_valid_until, None),
            Outcome::Failed { why } => ("failed", None, Some(why.as_str())),
        };
        let previous_valid_until = previous_valid_until.map(Timestamp::to_rfc3339);
        Line { shown: Shown::of(&self.record), outcome, previous_valid_until, error }
    }

    fn row(&self) -> [String; 5] {
        let outcome = match &self.outcome {
            Outcome::Due => "due".to_owned(),
            Outcome::Rotated { previous_valid_until: None } => "rotated, the one before ended".to_owned(),
            Outcome::Rotated { previous_valid_until: Some(end) } => {
                format!("rotated, the one before works until {} UTC", output::time(*end))
            }
            Outcome::Failed { .. } => "failed, still due".to_owned(),
        };
        let KeyRecord { key_id, key_prefix, user_id, name, .. } = &self.record;
        [key_id.to_string(), key_prefix.clone(), user_id.to_string(), name.clone(), outcome]
    }
}

/// Without the secret, unlike what is delivered.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    outcome: &'static str,
    previous_valid_until: Option<String>,
    error: Option<&'a str>,
}

fn tell(handled: &[Handled], tools: &Tools) -> anyhow::Result<()> {
    let lines: Vec<Line<'_>> = handled.iter().map(Handled::line).collect();
    tools.output.print(&lines, || match handled {
        [] => "No key is due.".to_owned(),
        _ => output::table(["KEY ID", "STARTS WITH", "USER", "NAME", "SECRET"], handled.iter().map(Handled::row)),
    })
}

fn nothing_failed(failures: &[String]) -> anyhow::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let says = format!("not every key was rotated:\n  {}", failures.join("\n  "));
    let hint = "a key that failed keeps the secret it has and stays due; the next run tries again".to_owned();
    Err(Advice { says, hint }.into())
}
