//! The hours' counts, where the store is the authority over them. What decides stands in the database, as functions
//! (`sql/postgres/0001_api_keys.up.sql`), so that each question is one round trip.
//!
//! What must stay true here:
//! - `used` of an hour is what was admitted plus what is on lease and not spent, and no lease is granted beyond the limit.
//! - Questions of one key are decided one after the other, each under the key's lock. Locks of several keys are taken in one
//!   order, so nobody waits in a circle.
//! - The hour is the database's, read after the lock was taken, so hours begin in the order in which questions are decided.
//! - A question is void once a later one of its gateway was carried out. One that was given up may still wait in the server, and
//!   what it would take back is in use by then.
//! - Telling the end of a lease twice, or of one that a reset made void, changes nothing.

use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use super::values::{bigint, count, timestamp};
use crate::model::ids::KeyId;
use crate::model::lease::{Grant, LeaseAnswer, LeaseId, LeaseReply, LeaseReport, LeaseRequest, News};
use crate::model::quota::HourWindow;
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;

impl PostgresStore {
    pub async fn lease(
        &self,
        key_id: &KeyId,
        spool_id: &str,
        id: LeaseId,
        request: LeaseRequest,
    ) -> Result<LeaseReply, StoreError> {
        let (key_id, question) = (key_id.as_str(), bigint(id.number()));
        let (limit, wanted) = (bigint(request.limit), bigint(request.wanted));
        let (ended, spent) = request.ended.map(|report| (bigint(report.id.number()), bigint(report.spent))).unzip();
        let (hour, debt) = request.debt.map(|debt| (bigint(debt.hour.number()), bigint(debt.requests))).unzip();
        let arguments: [&(dyn ToSql + Sync); 10] =
            [&key_id, &spool_id, &question, &request.is_spooled, &limit, &wanted, &ended, &spent, &hour, &debt];
        self.change(async |client| {
            let statement = client.prepare_cached("SELECT * FROM api_key_lease($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)").await?;
            Ok(lease_reply(id, &client.query_one(&statement, &arguments).await?))
        })
        .await
    }

    pub async fn settle_leases(&self, spool_id: &str, news: Vec<News>) -> Result<Vec<bool>, StoreError> {
        let of_lease =
            |(_, report): &News| report.lease.map(|LeaseReport { id, spent, .. }| (bigint(id.number()), bigint(spent)));
        let of_debt = |(_, report): &News| report.debt.map(|debt| (bigint(debt.hour.number()), bigint(debt.requests)));
        let keys: Vec<&str> = news.iter().map(|(key_id, _)| key_id.as_str()).collect();
        let (leases, spent): (Vec<_>, Vec<_>) = news.iter().map(|news| of_lease(news).unzip()).unzip();
        let finished: Vec<_> = news.iter().map(|(_, report)| report.lease.map(|lease| lease.finished)).collect();
        let (hours, debts): (Vec<_>, Vec<_>) = news.iter().map(|news| of_debt(news).unzip()).unzip();
        self.change(async |client| {
            let statement = client.prepare_cached("SELECT api_key_settle_all($1, $2, $3, $4, $5, $6, $7)").await?;
            let told = client.query_one(&statement, &[&spool_id, &keys, &leases, &spent, &finished, &hours, &debts]).await?;
            Ok(told.get(0))
        })
        .await
    }

    pub async fn leases_of(&self, spool_id: &str) -> Result<Vec<(KeyId, Grant)>, StoreError> {
        let sql = "SELECT key_id, lease_id, granted FROM api_key_leases WHERE spool_id = $1 AND granted > 0 AND is_spooled";
        let leases = self.read(async |client| Ok(client.query(sql, &[&spool_id]).await?)).await?;
        let lease = |row: &Row| (row.get::<_, &str>(0).into(), Grant { id: lease_id(row.get(1)), permits: count(row.get(2)) });
        Ok(leases.iter().map(lease).collect())
    }

    pub async fn hour_usage(&self, key_id: &KeyId, now: Timestamp) -> Result<u64, StoreError> {
        let hour = bigint(HourWindow::containing(now).number());
        let used = self.read(async |client| Ok(client.query_opt(HOUR_USAGE, &[&key_id.as_str(), &hour]).await?)).await?;
        Ok(used.map_or(0, |row| count(row.get(0))))
    }

    pub async fn reset_hour(&self, key_id: &KeyId) -> Result<(), StoreError> {
        self.change(async |client| {
            client.query_one("SELECT api_key_reset_hour($1), api_key_reset_noted($1)", &[&key_id.as_str()]).await?;
            Ok(())
        })
        .await
    }
}

const HOUR_USAGE: &str = "
    SELECT used - (SELECT coalesce(sum(granted - spent), 0)::bigint FROM api_key_leases WHERE key_id = $1 AND hour = $2)
    FROM api_key_hours WHERE key_id = $1 AND hour = $2";

fn lease_reply(id: LeaseId, row: &Row) -> LeaseReply {
    if let Some(last) = row.get("last") {
        return LeaseReply::Late(lease_id(last));
    }
    let (decided_at, permits): (SystemTime, u64) = (row.get("decided_at"), count(row.get("permits")));
    LeaseReply::Decided(LeaseAnswer {
        now: timestamp(decided_at),
        used: count(row.get("counted")),
        lease: (permits > 0).then_some(Grant { id, permits }),
        others_hold: row.get("others_hold"),
    })
}

fn lease_id(number: i64) -> LeaseId {
    LeaseId::from_number(count(number))
}
