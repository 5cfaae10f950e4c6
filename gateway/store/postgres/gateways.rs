//! The gateways that run, so that a revocation can wait for all of them.
//!
//! What must stay true here: a gateway confirms a question only after it applied every change that was committed before the
//! question was. Notifications come in the order of the commits, so hearing the question is hearing all before it. Silence is
//! measured by the database's clock alone.

use std::time::Duration;

use deadpool_postgres::GenericClient;

use super::pool::PostgresStore;
use crate::model::ids::KeyId;
use crate::store::{GatewayReport, StoreError};

impl PostgresStore {
    pub async fn forget_gateway(&self, gateway_id: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM api_gateways WHERE gateway_id = $1";
        self.change(async |transaction| Ok(transaction.execute(sql, &[&gateway_id]).await?)).await?;
        Ok(())
    }

    pub async fn gateways(&self) -> Result<Vec<GatewayReport>, StoreError> {
        let sql = "SELECT gateway_id, greatest(0, extract(epoch FROM clock_timestamp() - seen_at))::double precision AS silent_for \
                   FROM api_gateways WHERE seen_at > clock_timestamp() - interval '1 day' ORDER BY gateway_id";
        let rows = self.read(async |client| Ok(client.query(sql, &[]).await?)).await?;
        let report = |row: &tokio_postgres::Row| GatewayReport {
            gateway_id: row.get("gateway_id"),
            silent_for: Duration::from_secs_f64(row.get("silent_for")),
        };
        Ok(rows.iter().map(report).collect())
    }

    /// The question is a transaction of its own, begun after the change was committed. Questions older than anybody's patience go.
    pub async fn ask_confirmation(&self, key_id: &KeyId) -> Result<i64, StoreError> {
        let forget = "DELETE FROM api_gateway_syncs WHERE asked_at < now() - interval '1 hour'";
        let ask = "INSERT INTO api_gateway_syncs (key_id) VALUES ($1) RETURNING token";
        self.change(async |transaction| {
            transaction.execute(forget, &[]).await?;
            Ok(transaction.query_one(ask, &[&key_id.as_str()]).await?.get(0))
        })
        .await
    }

    pub async fn confirmed_by(&self, question: i64) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT unnest(confirmed_by) AS gateway_id FROM api_gateway_syncs WHERE token = $1 ORDER BY 1";
        self.read(async |client| {
            let statement = client.prepare_cached(sql).await?;
            Ok(client.query(&statement, &[&question]).await?.iter().map(|row| row.get(0)).collect())
        })
        .await
    }
}
