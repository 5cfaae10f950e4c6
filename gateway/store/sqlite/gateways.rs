//! How far each running gateway has followed the changes, so that a revocation can wait for all of them.
//!
//! What must stay true here: a gateway reports a version only after it applied every change up to it, and its row goes when
//! it ends in order. Silence is measured by the store's clock alone.

use std::time::Duration;

use rusqlite::{Row, params};

use super::SqliteStore;
use crate::model::ids::KeyId;
use crate::store::{GatewayReport, StoreError};

impl SqliteStore {
    /// For a gateway to say that it has applied every change up to `version`. Gateways unheard of for a day are forgotten.
    pub(super) async fn report_gateway(&self, gateway_id: &str, version: i64) -> Result<(), StoreError> {
        let gateway_id = gateway_id.to_owned();
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            transaction.prepare_cached(REPORT)?.execute(params![gateway_id, version])?;
            transaction.prepare_cached(FORGET_THE_LOST)?.execute([])?;
            transaction.commit()
        })
        .await
    }

    pub async fn forget_gateway(&self, gateway_id: &str) -> Result<(), StoreError> {
        let gateway_id = gateway_id.to_owned();
        self.write(move |connection| connection.execute("DELETE FROM api_gateways WHERE gateway_id = ?1", [gateway_id])).await?;
        Ok(())
    }

    pub async fn gateways(&self) -> Result<Vec<GatewayReport>, StoreError> {
        self.read(|connection| connection.prepare_cached(REPORTS)?.query_map([], report)?.collect()).await
    }

    /// The newest version is the question: the change was made before it was asked, so it is that version or an earlier one.
    pub async fn ask_confirmation(&self, _: &KeyId) -> Result<i64, StoreError> {
        self.change_cursor().await
    }

    pub async fn confirmed_by(&self, question: i64) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT gateway_id FROM api_gateways WHERE seen_version >= ?1 ORDER BY gateway_id";
        self.read(move |connection| connection.prepare_cached(sql)?.query_map([question], |row| row.get(0))?.collect()).await
    }
}

const REPORT: &str = "
    INSERT INTO api_gateways (gateway_id, seen_version) VALUES (?1, ?2)
    ON CONFLICT (gateway_id) DO UPDATE SET
        seen_version = excluded.seen_version, seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now')";

const FORGET_THE_LOST: &str = "DELETE FROM api_gateways WHERE seen_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')";

const REPORTS: &str = "
    SELECT gateway_id, max(0.0, unixepoch('now', 'subsec') - unixepoch(seen_at, 'subsec'))
    FROM api_gateways ORDER BY gateway_id";

fn report(row: &Row<'_>) -> rusqlite::Result<GatewayReport> {
    Ok(GatewayReport { gateway_id: row.get(0)?, silent_for: Duration::from_secs_f64(row.get(1)?) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Folder;
    use crate::store::ChangeFeed;

    #[tokio::test]
    async fn silence_is_measured_and_after_a_day_a_gateway_is_forgotten() {
        let (folder, store) = Folder::migrated().await;
        folder
            .shell()
            .execute_batch(
                "INSERT INTO api_gateways VALUES
                    ('silent', 1, strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour')),
                    ('lost', 1, strftime('%Y-%m-%d %H:%M:%f', 'now', '-25 hours'))",
            )
            .unwrap();
        let mut talking = ChangeFeed::new(&store, "talking");
        talking.next().await.unwrap();
        talking.applied().await.unwrap();
        let reports = store.gateways().await.unwrap();
        let names: Vec<&str> = reports.iter().map(|report| report.gateway_id.as_str()).collect();
        assert_eq!(names, ["silent", "talking"]);
        assert!((3600..3700).contains(&reports[0].silent_for.as_secs()));
        assert!(reports[1].silent_for.as_secs() < 60);
    }
}
