//! `keys revoke`
//!
//! What must stay true here: `--wait` succeeds only when every gateway that was alive at the revocation has confirmed it or has
//! ended. One that falls silent meanwhile may still serve the key, so it is waited for and then named.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use tracing::info;

use crate::cli::tools::Tools;
use crate::clock;
use crate::keyring;
use crate::model::ids::KeyId;
use crate::store::{GatewayReport, Store, StoreError};

pub const NOTES: &str = "\
Gateways that reach the store refuse the key at once; one that is cut off does
after keys.stale_if_error at the latest.

It cannot be undone. To stop a key for a while: keys update --disable.
To replace a secret that leaked: keys rotate --grace 0s.";

/// A gateway that reported within this time is alive: ten times its interval.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// Gateways follow within a second; one that did not by then needs somebody to look at it.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// As `keys list` shows it
    key_id: KeyId,
    /// Return when every live gateway has confirmed; after 10 s, name those that have not
    #[arg(long)]
    wait: bool,
}

pub async fn run(args: &RevokeArgs, tools: &Tools) -> anyhow::Result<()> {
    keyring::revoke(&tools.store, &args.key_id, clock::now()).await?;
    info!(key_id = %args.key_id, "key revoked");
    let confirmations = match args.wait {
        true => Some(wait_for_gateways(&tools.store, &args.key_id).await?),
        false => None,
    };
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

/// Names of gateways.
#[derive(Serialize)]
struct Confirmations {
    confirmed_by: Vec<String>,
    not_confirmed_by: Vec<String>,
}

/// Called after the revocation: what is confirmed is the revocation too.
async fn wait_for_gateways(store: &Store, key_id: &KeyId) -> Result<Confirmations, StoreError> {
    let question = store.ask_confirmation(key_id).await?;
    let deadline = clock::monotonic() + PATIENCE;
    let mut awaited = alive(store.gateways().await?);
    let mut confirmed_by = Vec::new();
    while !awaited.is_empty() && clock::monotonic() < deadline {
        let confirmed = store.confirmed_by(question).await?;
        let running = store.gateways().await?;
        awaited.retain(|gateway| {
            let has_confirmed = confirmed.contains(gateway);
            if has_confirmed {
                confirmed_by.push(gateway.clone());
            }
            !has_confirmed && running.iter().any(|report| report.gateway_id == *gateway)
        });
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(Confirmations { confirmed_by, not_confirmed_by: awaited })
}

fn alive(reports: Vec<GatewayReport>) -> Vec<String> {
    reports.into_iter().filter(|report| report.silent_for <= ALIVE_WITHIN).map(|report| report.gateway_id).collect()
}
