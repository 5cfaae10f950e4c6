//! `keys revoke`
//!
//! What must stay true here: `--wait` succeeds only when every gateway that was alive at the revocation has confirmed it or has
//! ended. One that falls silent meanwhile may still serve the key, so it is waited for and then named.

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use crate::cli::tools::Tools;
use crate::keyring::confirm::{Confirmations, PATIENCE};
use crate::model::ids::KeyId;

pub const NOTES: &str = "\
Gateways that reach the store refuse the key at once; one that is cut off does
after keys.stale_if_error at the latest.

It cannot be undone. To stop a key for a while: keys update --disable.
To replace a secret that leaked: keys rotate --grace 0s.";

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// As `keys list` shows it
    key_id: KeyId,
    /// Return when every live gateway has confirmed; after 10 s, name those that have not
    #[arg(long)]
    wait: bool,
}

pub async fn run(args: &RevokeArgs, tools: &Tools) -> anyhow::Result<()> {
    let confirmations = tools.backend.revoke(&args.key_id, args.wait).await?;
    let revoked = Revoked { key_id: args.key_id.as_str(), is_active: false, confirmations };
    tools.output.print(&revoked, || revoked.in_words())?;
    match revoked.confirmations {
        Some(Confirmations { not_confirmed_by, .. }) if !not_confirmed_by.is_empty() => bail!(
            "these gateways have not confirmed within {PATIENCE:?} and may still accept the key: {}",
            not_confirmed_by.join(", ")
        ),
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct Revoked<'a> {
    key_id: &'a str,
    is_active: bool,
    #[serde(flatten)]
    confirmations: Option<Confirmations>,
}

impl Revoked<'_> {
    fn in_words(&self) -> String {
        let confirmed = match &self.confirmations {
            None => String::new(),
            Some(Confirmations { confirmed_by, .. }) if confirmed_by.is_empty() => " Confirmed by no gateway.".to_owned(),
            Some(Confirmations { confirmed_by, .. }) => format!(" Confirmed by {}.", confirmed_by.join(", ")),
        };
        format!("Key {} is revoked.{confirmed}", self.key_id)
    }
}
