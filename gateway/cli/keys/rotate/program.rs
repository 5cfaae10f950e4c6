//! Secrets delivered by a program of the operator's, started once for each key.
//!
//! What must stay true here: the secret goes to its stdin and nowhere else. Arguments and environment can be read by others, and
//! what the program says of its troubles ends in a log: should it repeat the secret there, it is cut out.

use std::env;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::failure::Advice;
use crate::keyring::RotatedKey;

/// A program that hangs must not keep the other keys from their turn. Enough for some attempts over a slow network.
const PATIENCE: Duration = Duration::from_mins(2);

pub struct Program(PathBuf);

impl Program {
    /// As a shell would: a name is looked for in `PATH`, what has a `/` is a path.
    ///
    /// # Errors
    /// When there is none that could be started.
    pub fn find(name: &Path) -> anyhow::Result<Self> {
        let places = match name.components().count() {
            1 => env::split_paths(&env::var_os("PATH").unwrap_or_default()).map(|folder| folder.join(name)).collect(),
            _ => vec![name.to_owned()],
        };
        places.into_iter().find(|path| can_be_started(path)).map(Self).ok_or_else(|| {
            let says = format!("there is no program {} that can be started; nothing was rotated", name.display());
            let hint = "name one by its path, executable, and without arguments: a script can give it some".to_owned();
            Advice { says, hint }.into()
        })
    }

    /// Waits for its end, and passes on what it says on stderr.
    pub async fn give(&self, rotated: &RotatedKey, json: &[u8]) -> anyhow::Result<()> {
        let ended = timeout(PATIENCE, self.run(json)).await;
        let name = self.0.display();
        let (taken, output) = ended.map_err(|_| anyhow!("{name} did not end within {PATIENCE:?}"))??;
        pass_on(&output.stderr, rotated);
        if !output.status.success() {
            bail!("{name} failed: {}", output.status);
        }
        taken.with_context(|| format!("{name} did not read its stdin"))
    }

    /// Whether it took all, and how it ended. It is killed when nobody waits any more.
    async fn run(&self, json: &[u8]) -> anyhow::Result<(io::Result<()>, Output)> {
        let mut command = Command::new(&self.0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.0.display()))?;
        let mut stdin = child.stdin.take().expect("it was piped");
        let write = async move { stdin.write_all(json).await };
        // At the same time: one that says much before it reads would wait for ever.
        let (taken, output) = tokio::join!(write, child.wait_with_output());
        Ok((taken, output?))
    }
}

fn can_be_started(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Each line with the key that it is about.
fn pass_on(said: &[u8], rotated: &RotatedKey) {
    let said = String::from_utf8_lossy(said).replace(rotated.key.expose(), &format!("{}…", rotated.record.key_prefix));
    for line in said.lines() {
        // Where stderr is closed, nothing can be said.
        let _ = writeln!(io::stderr(), "{}: {line}", rotated.record.key_id);
    }
}
