//! `serve`

use super::Common;

pub const ABOUT: &str = "\
Run the gateway.

SIGTERM or SIGINT: stop accepting, finish what is under way, exit. SIGHUP: reopen the log file.
A store that cannot be reached at the start is asked again; tables this version cannot work with end it.";

pub fn run(_common: &Common) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
