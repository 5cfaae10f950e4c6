//! `demo`

use super::Common;

pub const ABOUT: &str = "\
Try it: a gateway, a sample upstream and a fresh key, with nothing to set up.

The upstream answers with what reached it. A curl line to paste is printed. Ctrl-C ends it, and nothing stays behind.
With --json, {\"url\",\"admin_url\",\"key\",\"key_id\"} is printed on one line once connections are accepted.";

pub fn run(_common: &Common) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
