//! `demo`

use super::Common;

pub const NOTES: &str = "\
It prints a curl line to paste; the upstream answers with what reached it.
Ctrl-C ends it, and nothing stays behind.

With --json it prints {\"url\",\"admin_url\",\"key\",\"key_id\"} on one line once it
accepts connections.";

pub fn run(_common: &Common) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
