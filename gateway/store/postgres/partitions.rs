//! The partitions of `api_key_usage`, one for each day (UTC), so that usage past its retention goes in one stroke.
//!
//! What must stay true here:
//! - A row always has a place. What has no partition of its day goes to the default one and moves when the day gets its own, so
//!   a gateway that may make no tables, or came too late, loses nothing.
//! - A gateway that may make none says so once and leaves it to the owner of the tables: that is no failure.
//! - Whoever changes the partitions holds the table against others who do (SHARE UPDATE EXCLUSIVE) first, then locks from the
//!   table downwards, as readers and writers do, so nobody waits in a circle.
//! - A lock that holds up readers or writers is waited for `LOCK_TIMEOUT` at most: they would queue behind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use deadpool_postgres::Client;
use tokio_postgres::error::SqlState;

use super::PostgresStore;
use super::errors::Failure;
use super::values::count;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::UsageBatch;
use crate::store::StoreError;

/// As long as nobody needs to look after a gateway that cannot make partitions.
const DAYS_AHEAD: u64 = 7;
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '500ms'";
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// What this gateway knows of them.
#[derive(Default)]
pub(super) struct Partitions {
    /// Days that were seen to: made, or left to the default one.
    known_days: Mutex<BTreeSet<Day>>,
    left_to_owner: AtomicBool,
}

/// Since the epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Day(u64);

impl PostgresStore {
    /// Makes the partitions of today and the days to come, and of days whose rows the default one had to take.
    pub async fn make_room_for_usage(&self, now: Timestamp) -> Result<(), StoreError> {
        if !self.may_make_partitions().await? {
            return Ok(());
        }
        let today = Day::containing(now).0;
        for day in (today..=today + DAYS_AHEAD).map(Day) {
            if !self.has_table(day).await? {
                self.overhaul(async |transaction| make(transaction, day).await).await?;
            }
        }
        while let Some(day) = self.oldest_without_partition().await? {
            if !self.overhaul(async |transaction| make(transaction, day).await).await? {
                break;
            }
        }
        Ok(())
    }

    /// The same for the days of these rows alone. A failure is no reason not to write them.
    pub(super) async fn make_partitions_for(&self, rows: &UsageBatch) {
        for day in self.partitions.note(rows) {
            if let Err(error) = self.make_partition_if_missing(day).await {
                tracing::warn!(%error, "no partition {} could be made yet; api_key_usage_default takes its rows", day.table());
            }
        }
    }

    /// Drops what is wholly past, but for what belongs to somebody else. Returns how many rows went.
    pub(super) async fn drop_partitions_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        let first_to_keep = Day::containing(before).table();
        let sql = "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                   WHERE inhparent = 'api_key_usage'::regclass AND relname ~ '^api_key_usage_[0-9]{8}$' AND relname < $1::text::name \
                   AND pg_has_role(relowner, 'USAGE') ORDER BY relname";
        let past = self.read(async |client| Ok(client.query(sql, &[&first_to_keep]).await?)).await?;
        let mut rows = 0;
        for table in past {
            let table: String = table.get(0);
            rows += self.overhaul(async |transaction| drop_partition(transaction, &table).await).await?;
        }
        Ok(rows)
    }

    async fn make_partition_if_missing(&self, day: Day) -> Result<(), StoreError> {
        if !self.has_table(day).await? && self.may_make_partitions().await? {
            self.change(async |transaction| make(transaction, day).await).await?;
        }
        Ok(())
    }

    /// Told when it has changed.
    async fn may_make_partitions(&self) -> Result<bool, StoreError> {
        let sql = "SELECT pg_has_role(relowner, 'USAGE') AND coalesce(has_schema_privilege(current_schema(), 'CREATE'), FALSE) \
                   FROM pg_class WHERE oid = 'api_key_usage'::regclass";
        let may: bool = self.read(async |client| Ok(client.query_one(sql, &[]).await?.get(0))).await?;
        let was_left_to_owner = self.partitions.left_to_owner.swap(!may, Ordering::Relaxed);
        match (may, was_left_to_owner) {
            (false, false) => tracing::warn!(
                user = self.url.user(),
                "this user does not own api_key_usage: its rows go to api_key_usage_default until the owner runs `cleanup`, \
                 which makes the partitions of a week (docs/postgresql.md)"
            ),
            (true, true) => tracing::info!(user = self.url.user(), "this user makes the partitions of api_key_usage now"),
            _ => {}
        }
        Ok(may)
    }

    async fn has_table(&self, day: Day) -> Result<bool, StoreError> {
        let sql = "SELECT to_regclass($1) IS NOT NULL";
        self.read(async |client| Ok(client.query_one(sql, &[&day.table()]).await?.get(0))).await
    }

    /// Instants that no calendar has a day for stay where they are.
    async fn oldest_without_partition(&self) -> Result<Option<Day>, StoreError> {
        let sql = "SELECT floor(extract(epoch FROM min(timestamp)) / 86400)::bigint FROM api_key_usage_default \
                   WHERE timestamp >= 'epoch' AND timestamp < '9999-12-30'";
        let oldest: Option<i64> = self.report(async |client| Ok(client.query_one(sql, &[]).await?.get(0))).await?;
        Ok(oldest.map(|day| Day(count(day))))
    }
}

/// Makes a day's partition and moves there what the default one has of it. False: the day is provided for otherwise.
async fn make(transaction: &Client, day: Day) -> Result<bool, Failure> {
    let table = day.table();
    transaction.batch_execute("LOCK TABLE ONLY api_key_usage IN SHARE UPDATE EXCLUSIVE MODE").await?;
    if exists(transaction, &table).await? {
        return Ok(false);
    }
    let (from, to) = (day.start().to_rfc3339(), Day(day.0 + 1).start().to_rfc3339());
    let sql = format!(
        "{LOCK_TIMEOUT};
         LOCK TABLE api_key_usage_default IN ACCESS EXCLUSIVE MODE;
         CREATE TABLE {table} (LIKE api_key_usage INCLUDING ALL EXCLUDING IDENTITY);
         WITH moved AS (
             DELETE FROM api_key_usage_default WHERE timestamp >= '{from}' AND timestamp < '{to}' RETURNING *
         ) INSERT INTO {table} SELECT * FROM moved;
         ALTER TABLE api_key_usage ATTACH PARTITION {table} FOR VALUES FROM ('{from}') TO ('{to}')"
    );
    match transaction.batch_execute(&sql).await {
        // Somebody's own partition takes the day, or a part of it.
        Err(error) if error.code() == Some(&SqlState::INVALID_OBJECT_DEFINITION) => Ok(false),
        made => Ok(made.map(|()| true)?),
    }
}

/// Returns how many rows it had; none when somebody else was quicker.
async fn drop_partition(transaction: &Client, table: &str) -> Result<u64, Failure> {
    transaction.batch_execute("LOCK TABLE ONLY api_key_usage IN SHARE UPDATE EXCLUSIVE MODE").await?;
    if !exists(transaction, table).await? {
        return Ok(0);
    }
    let rows = transaction.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await?;
    let sql = format!("{LOCK_TIMEOUT}; LOCK TABLE ONLY api_key_usage IN ACCESS EXCLUSIVE MODE; DROP TABLE {table}");
    transaction.batch_execute(&sql).await?;
    Ok(count(rows.get(0)))
}

async fn exists(transaction: &Client, table: &str) -> Result<bool, Failure> {
    Ok(transaction.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?.get(0))
}

impl Partitions {
    /// The days of these rows that were not known before.
    fn note(&self, rows: &UsageBatch) -> Vec<Day> {
        let mut known = self.known_days.lock().unwrap_or_else(PoisonError::into_inner);
        let days: BTreeSet<Day> = rows.iter().map(|row| Day::containing(row.timestamp)).collect();
        days.into_iter().filter(|day| known.insert(*day)).collect()
    }
}

impl Day {
    const fn containing(instant: Timestamp) -> Self {
        Self(instant.as_millis() / DAY_MILLIS)
    }

    const fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0 * DAY_MILLIS)
    }

    /// Names sort like the days.
    fn table(self) -> String {
        format!("api_key_usage_{}", self.start().to_sql_text()[..10].replace('-', ""))
    }
}

#[cfg(test)]
mod tests;
