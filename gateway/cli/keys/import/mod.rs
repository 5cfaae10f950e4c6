//! `keys import`

mod file;
mod told;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use self::told::Told;
use crate::cli::failure::BadUsage;
use crate::cli::tools::Tools;
use crate::clock;
use crate::keyring::import::{Defaults, Import, Plan};
use crate::model::ids::UserId;
use crate::reports::rows::RowFormat;
use crate::store::Store;

pub const NOTES: &str = "\
A key is one of `key` (its text), `key_hash` (SHA-256 in hex, or a bcrypt hash)
and `bcrypt_hash`, and may have: key_id key_prefix user_id name environment
created_at expires_at last_used_at is_active revoked_at rate_limit_per_hour
allowed_ips scopes. In CSV the first line names them. What is empty is as absent:
the user is --user, the name `imported`, the limit keys.default_rate_limit
(`none`: no limit). A bcrypt hash needs key_prefix, the first 4 to 24 characters
of the key; it is verified when the key is first used, and replaced by a SHA-256.

All is checked first; while anything is wrong nothing is written. What the store
has already is left as it is, so that the same file can be imported again.

Examples:
  hokusai-gateway keys import keys.csv --user ann --dry-run
  psql -qc 'COPY (SELECT key_id, key_hash, key_prefix, user_id, name, is_active
      FROM old.api_keys) TO STDOUT CSV HEADER' | hokusai-gateway keys import - --format csv";

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Where the keys are; `-`: on stdin
    file: PathBuf,
    /// How they are written [default: by the file's ending]
    #[arg(long, value_enum)]
    format: Option<RowFormat>,
    /// Whose they are where the file does not say
    #[arg(long, env = "HOKUSAI_USER_ID", hide_env_values = true)]
    user: Option<UserId>,
    /// Check everything and say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: ImportArgs, tools: &Tools) -> anyhow::Result<()> {
    let backend = tools.backend.store("keys import")?;
    let format = args.format()?;
    let keys = &tools.config.keys;
    let mut import = Import::new(Defaults {
        user_id: args.user.filter(|user| !user.as_str().is_empty()),
        rate_limit_per_hour: Some(keys.default_rate_limit),
        prefix: keys.prefix.clone(),
        now: clock::now(),
    });
    file::read(&args.file, format, &mut import).with_context(|| format!("cannot read {}", args.file.display()))?;
    let checking = bar("checking keys", import.len());
    let plan = import.compare(backend.tables().await?, |keys| checking.inc(keys as u64)).await?;
    checking.finish_and_clear();
    let mut told = Told::of(&plan, args.dry_run);
    if plan.faults.is_empty() && !args.dry_run {
        let written = write(plan, &backend.store).await;
        backend.seal_events().await;
        told.written(written?);
        info!(imported = told.imported, already_there = told.already_there, "keys imported");
    }
    told.tell(tools.output)
}

impl ImportArgs {
    fn format(&self) -> Result<RowFormat, BadUsage> {
        let ending = self.file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        self.format.or_else(|| RowFormat::by_ending(ending)).ok_or_else(|| {
            let file = self.file.display();
            BadUsage(format!("{file} ends neither in .csv nor in .jsonl; say with --format how the keys are written"))
        })
    }
}

/// Returns how many were still new.
async fn write(plan: Plan, store: &Store) -> anyhow::Result<usize> {
    let writing = bar("importing keys", plan.new.len());
    let written = plan.write(store, |keys| writing.inc(keys as u64)).await;
    let done = writing.position();
    writing.finish_and_clear();
    written.with_context(|| format!("{done} keys are imported; import the same file again for the others"))
}

/// Shown where stderr is a terminal only.
fn bar(doing: &'static str, keys: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len}, {eta} to go");
    ProgressBar::new(keys as u64).with_style(style.expect("the template is well-formed")).with_message(doing)
}
