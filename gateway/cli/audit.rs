//! `audit`: who changed what of which key, and whether that record is whole.

use anyhow::bail;
use clap::Subcommand;
use clap::builder::RangedU64ValueParser;

use super::output::{self, counted};
use super::tools::Tools;
use crate::audit::{Head, Verdict};
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::reports::audit::{Event, json};
use crate::reports::{When, when};
use crate::store::{EventFilter, ListedEvent};

pub const LIST_EXAMPLES: &str = "\
Examples:
  hokusai-gateway audit list --since 7d
  hokusai-gateway audit list --key key_0123456789abcdef01234567
  hokusai-gateway audit list --action revoked --json | jq -r '.[].actor'";

pub const VERIFY_NOTES: &str = "\
Whoever can write to the database as its owner can make the whole chain anew.
Keep the head that this prints somewhere else (each gateway writes it to its
log), and give it to a later `audit verify --head`: it has to be in the chain.

Exit status: 1 when the chain is not whole.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List changes of keys, the newest first
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only changes of this key
        #[arg(long, value_name = "KEY_ID")]
        key: Option<KeyId>,
        /// Only this: created, updated, enabled, disabled, rotated, proven, revoked, deleted, secret_added, secret_changed,
        /// secret_removed, limit_reset, truncated
        #[arg(long)]
        action: Option<String>,
        /// How far back to look: 7d, or a time as in RFC 3339 [default: as far as there is]
        #[arg(long, value_name = "WHEN", value_parser = when)]
        since: Option<When>,
        /// How many to show
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        limit: usize,
    },
    /// Check that nothing in the chain of changes was altered or removed
    #[command(after_help = VERIFY_NOTES)]
    Verify {
        /// What an earlier `audit verify` printed, to be in the chain still
        #[arg(long, value_name = "POSITION:HASH", value_parser = Head::parse)]
        head: Option<Head>,
    },
}

pub async fn run(command: Command, tools: &Tools) -> anyhow::Result<()> {
    match command {
        Command::List { key, action, since, limit } => {
            let since = since.map_or(Timestamp::default(), |since| since.instant(clock::now()));
            let filter = EventFilter { key_id: key, action, since, before: None, most: limit };
            let events = tools.backend.events(&filter).await?;
            tools.output.print(&json(&events), || in_words(&events))
        }
        Command::Verify { head } => verify(head.as_ref(), tools).await,
    }
}

async fn verify(head: Option<&Head>, tools: &Tools) -> anyhow::Result<()> {
    let verdict = tools.backend.verify_events(head).await?;
    tools.output.print(&verdict, || found(&verdict))?;
    if !verdict.is_whole {
        bail!("the chain of changes is not whole: compare with a backup, and find out who can write to the database");
    }
    Ok(())
}

fn in_words(events: &[ListedEvent]) -> String {
    if events.is_empty() {
        return "No changes.".to_owned();
    }
    let row = |listed: &ListedEvent| {
        let event = Event::of(listed);
        [output::time(listed.event.at), event.action.to_owned(), event.key_id.to_owned(), who(&event), event.changes()]
    };
    output::table(["WHEN (UTC)", "ACTION", "KEY ID", "WHO", "WHAT"], events.iter().map(row))
}

fn who(event: &Event<'_>) -> String {
    match (event.actor == event.via, event.origin) {
        (true, None) => event.actor.to_owned(),
        (_, None) => format!("{} ({})", event.actor, event.via),
        (_, Some(origin)) => format!("{} ({} from {origin})", event.actor, event.via),
    }
}

fn found(verdict: &Verdict) -> String {
    let waiting = match verdict.waiting {
        0 => String::new(),
        waiting => format!("\n{} not in the chain yet; a running gateway puts them there.", counted(waiting, "event")),
    };
    let head = verdict.head.as_deref().map_or_else(String::new, |head| format!("\nHead: {head}"));
    let sealed = counted(verdict.sealed, "event");
    if verdict.is_whole {
        return format!("The chain is whole: {sealed}.{waiting}{head}");
    }
    let more = match verdict.more_breaks {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    format!("The chain is not whole ({sealed}):\n  {}{more}{waiting}{head}", verdict.breaks.join("\n  "))
}
