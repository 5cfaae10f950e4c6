//! `check`: the configuration, without running it.

use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::Common;
use super::output::{Output, counted};
use super::tools;
use crate::config::{self, Config, LoadError, Problem};

/// The problems are the answer asked for, so they go to stdout; that there are some is the error.
pub fn run(common: &Common) -> anyhow::Result<()> {
    let path = tools::require_config_path(common)?;
    let output = Output::new(common.json);
    match config::load(&path, &tools::environment) {
        Ok(config) => output.print(&Checked::of(&path, &[]), || summary(&path, &config)),
        Err(LoadError::Invalid { problems, .. }) => {
            output.print(&Checked::of(&path, &problems.0), || problems.to_string())?;
            bail!("{} cannot be used: {}", path.display(), counted(problems.0.len() as u64, "problem"))
        }
        Err(unreadable) => Err(unreadable.into()),
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    path: &'a Path,
    valid: bool,
    problems: &'a [Problem],
}

impl<'a> Checked<'a> {
    fn of(path: &'a Path, problems: &'a [Problem]) -> Self {
        Self { path, valid: problems.is_empty(), problems }
    }
}

fn summary(path: &Path, config: &Config) -> String {
    let listen: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    format!(
        "{} is fine: listens on {}, {}, {}.",
        path.display(),
        listen.join(" and "),
        counted(config.routes.len() as u64, "route"),
        counted(config.upstreams.len() as u64, "upstream")
    )
}
