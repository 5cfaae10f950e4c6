//! `serve`

use anyhow::bail;

use super::{Common, tools};
use crate::config;
use crate::observe::logging::{Console, Logging};

pub const NOTES: &str = "\
SIGTERM, SIGINT  stop accepting, finish what is under way, exit with 0
SIGHUP           reopen the log file

A store that cannot be reached at the start is asked again and again; tables
that this version cannot work with are an error.";

pub fn run(common: &Common) -> anyhow::Result<()> {
    let config = config::load(&tools::require_config_path(common)?, &tools::environment)?;
    let _logging = Logging::start(&config.log, Console::Full, common.log_file.as_deref())?;
    bail!("not wired yet")
}
