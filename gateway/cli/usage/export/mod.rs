//! `usage export`
//!
//! What must stay true here: rows are written as they come, a page of them in memory at a time; and a file holds the whole export
//! or is not there.

mod progress;

use std::fs::Permissions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use super::Which;
use crate::cli::backend::Backend;
use crate::cli::failure::{Advice, BadUsage};
use crate::cli::output::counted;
use crate::cli::tools::Tools;
use crate::clock;
use crate::reports::rows::{RowFormat, Rows};
use crate::reports::{When, when};
use crate::signals::Signals;
use crate::store::UsageFilter;
use progress::Progress;

pub const NOTES: &str = "\
In CSV, a text that a spreadsheet would take for a formula has a ' before it.
Rows that are still on their way to the store when it is read are not in it.

Examples:
  hokusai-gateway usage export --since 30d --output usage.csv
  hokusai-gateway usage export --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z > november.csv
  hokusai-gateway usage export --format jsonl --key key_1234 | jq -r .endpoint";

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Requests from here on: 30d, or a time as in RFC 3339 [default: from the first on]
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<When>,
    /// Requests before here [default: now]
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<When>,
    #[command(flatten)]
    which: Which,
    /// How rows are written [default: csv; jsonl to stdout with --json]
    #[arg(long, value_enum)]
    format: Option<RowFormat>,
    /// The file to write, whole or not at all; without it rows go to stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(args: &ExportArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let since = args.since.map_or_else(Default::default, |since| since.instant(now));
    let until = args.until.map_or(now, |until| until.instant(now));
    if since >= until {
        return Err(BadUsage("--since is not before --until".to_owned()).into());
    }
    let filter = args.which.filter(since, until);
    let backend = &tools.backend;
    let Some(path) = &args.output else {
        let default = if tools.output.is_json() { RowFormat::Jsonl } else { RowFormat::Csv };
        return to_stdout(args.format.unwrap_or(default), &filter, backend).await;
    };
    let rows = to_file(path, args.format.unwrap_or(RowFormat::Csv), &filter, backend).await?;
    let done = Exported { path, rows };
    tools.output.print(&done, || format!("Wrote {} to {}.", counted(rows, "row"), path.display()))
}

#[derive(Serialize)]
struct Exported<'a> {
    path: &'a Path,
    rows: u64,
}

async fn to_stdout(format: RowFormat, filter: &UsageFilter, backend: &Backend) -> anyhow::Result<()> {
    let stdout = io::stdout();
    let progress = if stdout.is_terminal() { Progress::hidden(filter) } else { Progress::new(filter) };
    match export(backend, filter, Rows::new(format, stdout), progress).await {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done.map(drop),
    }
}

/// The file gets its name once all is on the disk.
async fn to_file(path: &Path, format: RowFormat, filter: &UsageFilter, backend: &Backend) -> anyhow::Result<u64> {
    let mut signals = Signals::listen()?;
    let rows = Rows::new(format, nameless(path)?);
    let (file, count) = tokio::select! {
        done = export(backend, filter, rows, Progress::new(filter)) => done?,
        _ = signals.next() => bail!("interrupted: {} was not written", path.display()),
    };
    let writing = || format!("cannot write {}", path.display());
    file.as_file().sync_all().with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(count)
}

/// Beside where it will be, with the rights that a new file has.
fn nameless(path: &Path) -> anyhow::Result<NamedTempFile> {
    if path.exists() && !path.is_file() {
        let says = format!("{} is there already, and is no file that could be replaced", path.display());
        return Err(Advice { says, hint: "leave --output out to have the rows on stdout".to_owned() }.into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let rights = Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(".usage-").permissions(rights).tempfile_in(folder);
    file.with_context(|| format!("cannot write into {}", folder.display()))
}

/// Returns what was written to, and how many rows there were.
async fn export<W: Write>(
    backend: &Backend,
    filter: &UsageFilter,
    mut rows: Rows<W>,
    mut progress: Progress,
) -> anyhow::Result<(W, u64)> {
    let (pages, mut taken) = mpsc::channel(1);
    let read = backend.export_usage(filter, pages);
    let write = async {
        rows.begin()?;
        while let Some(page) = taken.recv().await {
            page.iter().try_for_each(|row| rows.write(row))?;
            progress.advance(&page);
        }
        io::Result::Ok(())
    };
    let write = async { write.await.context("cannot write the rows") };
    tokio::try_join!(read, write)?;
    Ok((rows.finish().context("cannot write the rows")?, progress.finish()))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
