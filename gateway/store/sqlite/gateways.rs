//! How far each running gateway has followed the changes, so that a revocation can wait for all of them.
//!
//! What must stay true here: a gateway reports a version only after it applied every change up to it, and its row goes when
//! it ends in order. Silence is measured by the store's clock alone.

use std::time::Duration;

use rusqlite::{Row, params};

use super::SqliteStore;
use crate::store::StoreError;

/// A gateway as it last reported itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReport {
    pub gateway_id: String,
    /// It has applied all of `api_key_changes` up to this version.
    pub seen_version: i64,
    /// Since it reported.
    pub silent_for: Duration,
}

impl SqliteStore {
    /// For a gateway to say that it has applied every change up to `version`. Gateways unheard of for a day are forgotten.
    pub async fn report_gateway(&self, gateway_id: &str, version: i64) -> Result<(), StoreError> {
        let gateway_id = gateway_id.to_owned();
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            transaction.prepare_cached(REPORT)?.execute(params![gateway_id, version])?;
            transaction.prepare_cached(FORGET_THE_LOST)?.execute([])?;
            transaction.commit()
        })
        .await
    }

    /// For a gateway that ends: nobody waits for it any more.
    pub async fn forget_gateway(&self, gateway_id: &str) -> Result<(), StoreError> {
        let gateway_id = gateway_id.to_owned();
        self.write(move |connection| connection.execute("DELETE FROM api_gateways WHERE gateway_id = ?1", [gateway_id])).await?;
        Ok(())
    }

    /// Every gateway that reported within a day and did not say that it ended, by name.
    pub async fn gateways(&self) -> Result<Vec<GatewayReport>, StoreError> {
        self.read(|connection| connection.prepare_cached(REPORTS)?.query_map([], report)?.collect()).await
    }
}

const REPORT: &str = "
    INSERT INTO api_gateways (gateway_id, seen_version) VALUES (?1, ?2)
    ON CONFLICT (gateway_id) DO UPDATE SET
        seen_version = excluded.seen_version, seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now')";

const FORGET_THE_LOST: &str = "DELETE FROM api_gateways WHERE seen_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')";

const REPORTS: &str = "
    SELECT gateway_id, seen_version, max(0.0, unixepoch('now', 'subsec') - unixepoch(seen_at, 'subsec'))
    FROM api_gateways ORDER BY gateway_id";

fn report(row: &Row<'_>) -> rusqlite::Result<GatewayReport> {
    let silent_for = Duration::from_secs_f64(row.get(2)?);
    Ok(GatewayReport { gateway_id: row.get(0)?, seen_version: row.get(1)?, silent_for })
}
