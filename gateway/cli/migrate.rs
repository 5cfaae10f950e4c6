//! `migrate`: the tables.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use clap::Subcommand;
use serde::Serialize;
use tracing::info;

use super::failure::BadUsage;
use super::output::{self, Output, counted};
use super::tools::Tools;
use crate::model::timestamp::Timestamp;
use crate::store::{MigrationState, MigrationStatus, Store};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the tables, or bring them up to this version
    Up,
    /// List what was applied, and how many rows there are
    Status,
    /// Drop the tables, with every key and all usage in them
    Down {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(command: Command, tools: &Tools) -> anyhow::Result<()> {
    let store = &tools.backend.store("migrate")?.store;
    match command {
        Command::Up => up(store, tools.output).await,
        Command::Status => status(store, tools.output).await,
        Command::Down { yes } => down(yes, store, tools.output).await,
    }
}

async fn up(store: &Store, output: Output) -> anyhow::Result<()> {
    let applied = store.migrate_up().await?;
    info!(?applied, "migrated up");
    output.print(&Applied { applied: &applied }, || match applied.is_empty() {
        true => "Nothing to do: the tables are up to date.".to_owned(),
        false => format!("Applied: {}.", applied.join(", ")),
    })
}

async fn status(store: &Store, output: Output) -> anyhow::Result<()> {
    let status = store.migration_status().await?;
    output.print(&Status::of(&status), || in_words(&status))
}

async fn down(yes: bool, store: &Store, output: Output) -> anyhow::Result<()> {
    if !yes {
        ask(&store.migration_status().await?)?;
    }
    let taken_back = store.migrate_down().await?;
    info!(?taken_back, "migrated down");
    output.print(&TakenBack { taken_back: &taken_back }, || match taken_back.is_empty() {
        true => "Nothing to do: there are no tables.".to_owned(),
        false => format!("Taken back: {}.", taken_back.join(", ")),
    })
}

#[derive(Serialize)]
struct Applied<'a> {
    applied: &'a [&'static str],
}

#[derive(Serialize)]
struct TakenBack<'a> {
    taken_back: &'a [&'static str],
}

#[derive(Serialize)]
struct Status<'a> {
    migrations: Vec<State<'a>>,
    api_keys: Option<u64>,
    api_key_usage: Option<u64>,
}

#[derive(Serialize)]
struct State<'a> {
    version: u32,
    name: &'a str,
    applied: bool,
    applied_at: Option<String>,
}

impl<'a> Status<'a> {
    fn of(status: &'a MigrationStatus) -> Self {
        let state = |migration: &'a MigrationState| State {
            version: migration.version,
            name: &migration.name,
            applied: migration.applied_at.is_some(),
            applied_at: migration.applied_at.map(Timestamp::to_rfc3339),
        };
        Self {
            migrations: status.migrations.iter().map(state).collect(),
            api_keys: status.api_keys,
            api_key_usage: status.api_key_usage,
        }
    }
}

fn in_words(status: &MigrationStatus) -> String {
    let row = |state: &MigrationState| {
        [format!("{:04}", state.version), state.name.clone(), output::time_or(state.applied_at, "not applied")]
    };
    let migrations = output::table(["VERSION", "NAME", "APPLIED (UTC)"], status.migrations.iter().map(row));
    let rows = |count: Option<u64>| count.map_or("no table".to_owned(), |count| counted(count, "row"));
    let tables = [("api_keys", rows(status.api_keys)), ("api_key_usage", rows(status.api_key_usage))];
    format!("{migrations}\n\n{}", output::fields(tables))
}

/// Says what will be lost, and goes on only if somebody there says yes.
fn ask(status: &MigrationStatus) -> anyhow::Result<()> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(BadUsage("this drops every key and all usage, and nobody is there to be asked: add --yes".into()).into());
    }
    let keys = counted(status.api_keys.unwrap_or(0), "key");
    let rows = counted(status.api_key_usage.unwrap_or(0), "row");
    write!(io::stderr(), "This drops {keys} and {rows} of usage for good. Type `yes` to go on: ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}
