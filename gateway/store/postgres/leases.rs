//! The hours' counts, where the store is the authority over them. What decides stands in the database, as functions
//! (`sql/postgres/0001_api_keys.up.sql`), so that each question is one round trip.
//!
//! What must stay true here:
//! - `used` of an hour is what was admitted plus what is on lease and not spent, and no lease is granted beyond the limit.
//! - Questions of one key are decided one after the other, each under the key's lock. Locks of several keys are taken in one
//!   order, so nobody waits in a circle.
//! - The hour is the database's, read after the lock was taken, so hours begin in the order in which questions are decided.
//! - Telling the end of a lease twice, or of one that a reset made void, changes nothing.

use std::time::SystemTime;

use tokio_postgres::Row;

use super::PostgresStore;
use super::values::{bigint, count, timestamp};
use crate::model::ids::KeyId;
use crate::model::lease::{Debt, Grant, LeaseAnswer, LeaseId, LeaseReport, LeaseRequest};
use crate::model::quota::HourWindow;
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;

impl PostgresStore {
    pub async fn lease(&self, key_id: &KeyId, spool_id: Option<&str>, request: LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        let (limit, wanted) = (bigint(request.limit), bigint(request.wanted));
        let (ended, spent) = request.ended.map(|report| (report.id.number(), bigint(report.spent))).unzip();
        let (hour, debt) = request.debt.map(|debt| (bigint(debt.hour.number()), bigint(debt.requests))).unzip();
        let (key_id, spool_id) = (key_id.as_str(), spool_id.unwrap_or_default());
        self.change(async |client| {
            let statement = client.prepare_cached("SELECT * FROM api_key_lease($1, $2, $3, $4, $5, $6, $7, $8)").await?;
            let answer =
                client.query_one(&statement, &[&key_id, &spool_id, &limit, &wanted, &ended, &spent, &hour, &debt]).await?;
            Ok(lease_answer(&answer))
        })
        .await
    }

    pub async fn settle_leases(&self, reports: Vec<LeaseReport>, debts: Vec<(KeyId, Debt)>) -> Result<(), StoreError> {
        let leases: Vec<i64> = reports.iter().map(|report| report.id.number()).collect();
        let spent: Vec<i64> = reports.iter().map(|report| bigint(report.spent)).collect();
        let finished: Vec<bool> = reports.iter().map(|report| report.finished).collect();
        let keys: Vec<&str> = debts.iter().map(|(key_id, _)| key_id.as_str()).collect();
        let hours: Vec<i64> = debts.iter().map(|(_, debt)| bigint(debt.hour.number())).collect();
        let requests: Vec<i64> = debts.iter().map(|(_, debt)| bigint(debt.requests)).collect();
        self.change(async |client| {
            let statement = client.prepare_cached("SELECT api_key_settle_all($1, $2, $3, $4, $5, $6)").await?;
            client.query_one(&statement, &[&leases, &spent, &finished, &keys, &hours, &requests]).await?;
            Ok(())
        })
        .await
    }

    pub async fn leases_of(&self, spool_id: &str) -> Result<Vec<Grant>, StoreError> {
        let sql = "SELECT lease_id, granted FROM api_key_leases WHERE spool_id = $1";
        let leases = self.read(async |client| Ok(client.query(sql, &[&spool_id]).await?)).await?;
        let grant = |row: &Row| Grant { id: LeaseId::from_number(row.get(0)), permits: count(row.get(1)) };
        Ok(leases.iter().map(grant).collect())
    }

    pub async fn hour_usage(&self, key_id: &KeyId, now: Timestamp) -> Result<u64, StoreError> {
        let hour = bigint(HourWindow::containing(now).number());
        let used = self.read(async |client| Ok(client.query_opt(HOUR_USAGE, &[&key_id.as_str(), &hour]).await?)).await?;
        Ok(used.map_or(0, |row| count(row.get(0))))
    }

    pub async fn reset_hour(&self, key_id: &KeyId) -> Result<(), StoreError> {
        self.change(async |client| {
            client.query_one("SELECT api_key_reset_hour($1)", &[&key_id.as_str()]).await?;
            Ok(())
        })
        .await
    }
}

const HOUR_USAGE: &str = "
    SELECT used - (SELECT coalesce(sum(granted - spent), 0)::bigint FROM api_key_leases WHERE key_id = $1 AND hour = $2)
    FROM api_key_hours WHERE key_id = $1 AND hour = $2";

fn lease_answer(row: &Row) -> LeaseAnswer {
    let (decided_at, id): (SystemTime, Option<i64>) = (row.get("decided_at"), row.get("lease"));
    let permits = count(row.get("permits"));
    LeaseAnswer {
        now: timestamp(decided_at),
        used: count(row.get("counted")),
        lease: id.map(|id| Grant { id: LeaseId::from_number(id), permits }),
        others_hold: row.get("others_hold"),
    }
}
