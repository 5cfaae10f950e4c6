//! Who has heard of a change.
//!
//! What must stay true here: a gateway that was alive when it was asked has confirmed, has ended, or is named: one that falls silent
//! meanwhile may still serve the key as it was.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock;
use crate::model::ids::KeyId;
use crate::store::{GatewayReport, Store, StoreError};

/// A gateway that reported within this time is alive: ten times its interval.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// Gateways follow within a second; one that did not by then needs somebody to look at it.
pub const PATIENCE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Names of gateways.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Confirmations {
    pub confirmed_by: Vec<String>,
    pub not_confirmed_by: Vec<String>,
}

/// Called after the change of the key: what is confirmed is the change too.
pub async fn by_all_gateways(store: &Store, key_id: &KeyId) -> Result<Confirmations, StoreError> {
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
