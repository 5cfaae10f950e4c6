//! `serve`

use super::Common;

pub const NOTES: &str = "\
SIGTERM, SIGINT  stop accepting, finish what is under way, exit with 0
SIGHUP           reopen the log file

A store that cannot be reached at the start is asked again and again; tables
that this version cannot work with are an error.";

pub fn run(_common: &Common) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
