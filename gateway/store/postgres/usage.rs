//! Usage: one row for each admitted request, and what is asked of the rows.
//!
//! What must stay true here: a batch of rows and the journal's position after it are written by one statement, so that a batch
//! that comes twice is written once: also when the first has been given up here while it is committed over there, for the
//! position's row is locked until one of them has ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deadpool_postgres::GenericClient;
use tokio_postgres::Row;

use super::PostgresStore;
use super::errors::Failure;
use super::values::{bigint, count, instant};
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::{UsageBatch, UsageEvent};
use crate::store::{JournalPosition, KeyUsage, StoreError};

impl PostgresStore {
    pub async fn usage_position(&self, spool_id: &str) -> Result<Option<JournalPosition>, StoreError> {
        self.read(async |client| position(client, spool_id).await).await
    }

    pub async fn write_usage(
        &self,
        spool_id: &str,
        after: Option<JournalPosition>,
        upto: JournalPosition,
        rows: Arc<UsageBatch>,
    ) -> Result<JournalPosition, StoreError> {
        self.make_partitions_for(&rows).await;
        let rows = Columns::of(&rows);
        self.change(async |client| {
            if rows.write(client, spool_id, after, upto).await? {
                return Ok(upto);
            }
            let moved_away = || StoreError::Unavailable("the place in the usage journal was removed from the store".to_owned());
            Ok(position(client, spool_id).await?.ok_or_else(moved_away)?)
        })
        .await
    }

    pub async fn touch_last_used(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), StoreError> {
        let (keys, instants): (Vec<&str>, Vec<SystemTime>) = used.iter().map(|(id, when)| (id.as_str(), instant(*when))).unzip();
        self.change(async |client| {
            let statement = client.prepare_cached(TOUCH).await?;
            client.execute(&statement, &[&keys, &instants]).await?;
            Ok(())
        })
        .await
    }

    pub async fn usage_top(&self, since: Timestamp, limit: usize) -> Result<Vec<KeyUsage>, StoreError> {
        let limit = bigint(limit as u64);
        let rows = self.report(async |client| Ok(client.query(TOP, &[&instant(since), &limit]).await?)).await?;
        Ok(rows.iter().map(key_usage).collect())
    }

    pub async fn count_usage_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM api_key_usage WHERE timestamp < $1";
        self.report(async |client| Ok(count(client.query_one(sql, &[&instant(before)]).await?.get(0)))).await
    }

    /// Drops the days that are wholly past, whatever `max_rows` says, and deletes rows of the others.
    pub async fn delete_usage_before(&self, before: Timestamp, max_rows: usize) -> Result<usize, StoreError> {
        let dropped = self.drop_partitions_before(before).await?;
        let max_rows = bigint(max_rows as u64);
        let deleted = self.change(async |client| Ok(client.execute(DELETE, &[&instant(before), &max_rows]).await?)).await?;
        Ok(usize::try_from(dropped + deleted).expect("a count of rows fits"))
    }
}

/// A key that somebody is changing at this moment is left out, so that neither waits for the other: its next use will tell.
const TOUCH: &str = "
    WITH free AS (
        SELECT keys.key_id, used.at
        FROM api_keys AS keys JOIN unnest($1::text[], $2::timestamptz[]) AS used (key_id, at) USING (key_id)
        WHERE keys.last_used_at IS NULL OR keys.last_used_at < used.at
        ORDER BY keys.key_id FOR NO KEY UPDATE OF keys SKIP LOCKED
    )
    UPDATE api_keys AS keys SET last_used_at = free.at FROM free WHERE keys.key_id = free.key_id";

/// Counts first and joins the few that are left.
const TOP: &str = "
    SELECT keys.name, keys.user_id, used.requests, used.mean
    FROM (
        SELECT api_key_id, count(*) AS requests, avg(response_time_ms) AS mean
        FROM api_key_usage WHERE timestamp >= $1 GROUP BY api_key_id
    ) AS used JOIN api_keys AS keys ON keys.key_id = used.api_key_id
    ORDER BY used.requests DESC, keys.key_id LIMIT $2";

/// What another gateway is deleting is left to it. Planned anew each time: a plan for any number of rows reads them all.
const DELETE: &str = "
    DELETE FROM api_key_usage WHERE timestamp < $1 AND (timestamp, id) IN (
        SELECT timestamp, id FROM api_key_usage WHERE timestamp < $1 ORDER BY timestamp LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// Moves the position if it is where it should be, and only then writes the rows.
const WRITE: &str = r#"
    WITH moved AS (
        INSERT INTO api_key_usage_positions AS stands (spool_id, segment, "offset") VALUES ($1, $2, $3)
        ON CONFLICT (spool_id) DO UPDATE
            SET segment = excluded.segment, "offset" = excluded."offset", written_at = excluded.written_at
            WHERE (stands.segment, stands."offset") = ($4::bigint, $5::bigint)
        RETURNING spool_id
    ), written AS (
        INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code, method, request_id,
            client_ip, request_bytes, response_bytes)
        SELECT batch.* FROM moved, unnest($6::text[], $7::text[], $8::timestamptz[], $9::double precision[], $10::integer[],
            $11::text[], $12::text[], $13::inet[], $14::bigint[], $15::bigint[]) AS batch
    )
    SELECT EXISTS (SELECT FROM moved)"#;

async fn position(client: &impl GenericClient, spool_id: &str) -> Result<Option<JournalPosition>, Failure> {
    let sql = r#"SELECT segment, "offset" FROM api_key_usage_positions WHERE spool_id = $1"#;
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_opt(&statement, &[&spool_id]).await?;
    Ok(row.map(|row| JournalPosition { segment: count(row.get(0)), offset: count(row.get(1)) }))
}

fn key_usage(row: &Row) -> KeyUsage {
    KeyUsage { name: row.get(0), user_id: row.get(1), request_count: count(row.get(2)), avg_response_time_ms: row.get(3) }
}

/// Rows as a statement takes them: an array for each column.
#[derive(Default)]
struct Columns<'a> {
    key_id: Vec<&'a str>,
    endpoint: Vec<&'a str>,
    timestamp: Vec<SystemTime>,
    response_time_ms: Vec<f64>,
    status: Vec<i32>,
    method: Vec<&'a str>,
    request_id: Vec<&'a str>,
    client_ip: Vec<Option<IpAddr>>,
    request_bytes: Vec<i64>,
    response_bytes: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(rows: &'a UsageBatch) -> Self {
        let mut columns = Self::default();
        for event in rows.iter() {
            columns.push(&event);
        }
        columns
    }

    fn push(&mut self, event: &UsageEvent<'a>) {
        self.key_id.push(event.key_id);
        self.endpoint.push(event.endpoint);
        self.timestamp.push(instant(event.timestamp));
        self.response_time_ms.push(Duration::from_micros(event.response_micros).as_secs_f64() * 1000.0);
        self.status.push(event.status.into());
        self.method.push(event.method);
        self.request_id.push(event.request_id);
        self.client_ip.push(event.client_ip);
        self.request_bytes.push(bigint(event.request_bytes));
        self.response_bytes.push(bigint(event.response_bytes));
    }

    /// Whether they were written: only if the journal stood at `after`, or was not known.
    async fn write(
        &self,
        client: &impl GenericClient,
        spool_id: &str,
        after: Option<JournalPosition>,
        upto: JournalPosition,
    ) -> Result<bool, Failure> {
        let (segment, offset) = (bigint(upto.segment), bigint(upto.offset));
        let (after_segment, after_offset) = after.map(|after| (bigint(after.segment), bigint(after.offset))).unzip();
        let statement = client.prepare_cached(WRITE).await?;
        let written = client
            .query_one(
                &statement,
                &[
                    &spool_id,
                    &segment,
                    &offset,
                    &after_segment,
                    &after_offset,
                    &self.key_id,
                    &self.endpoint,
                    &self.timestamp,
                    &self.response_time_ms,
                    &self.status,
                    &self.method,
                    &self.request_id,
                    &self.client_ip,
                    &self.request_bytes,
                    &self.response_bytes,
                ],
            )
            .await?;
        Ok(written.get(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::store::Store;
    use crate::store::guarantees::usage::{at, batch, row};
    use crate::store::testing::postgres_server::{Database, SHARED};
    use crate::store::testing::{NOW, config, hash, postgres_store, record};

    async fn migrated() -> (Database<'static>, Store) {
        let database = SHARED.database();
        let store = postgres_store(&database.url());
        store.migrate_up().await.unwrap();
        (database, store)
    }

    #[tokio::test]
    async fn a_batch_that_was_given_up_is_not_written_later_and_when_it_comes_again_once() {
        let (database, patient) = migrated().await;
        patient.write_usage("spool", None, at(1, 0), batch([row("a", NOW)])).await.unwrap();
        let hasty = Store::open(&config(&format!("url = \"{}\"\ntimeout = \"300ms\"", database.url())).store);
        let (mut other, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
        let tasks = crate::drain::Tasks::new();
        tasks.spawn(async move { connection.await.unwrap() });
        let lock = other.transaction().await.unwrap();
        lock.batch_execute("SELECT FROM api_key_usage_positions FOR UPDATE").await.unwrap();
        let batch = || batch([row("a", NOW), row("b", NOW)]);
        for _ in 0..2 {
            let given_up = hasty.write_usage("spool", Some(at(1, 0)), at(2, 0), batch()).await;
            assert!(matches!(given_up, Err(StoreError::Unavailable(_))), "{given_up:?}");
        }
        lock.rollback().await.unwrap();
        assert_eq!(patient.usage_position("spool").await.unwrap(), Some(at(1, 0)));
        assert_eq!(patient.write_usage("spool", Some(at(1, 0)), at(2, 0), batch()).await.unwrap(), at(2, 0));
        assert_eq!(patient.count_usage_before(NOW.plus(Duration::from_secs(1))).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_row_has_all_that_was_recorded() {
        let (database, store) = migrated().await;
        store.write_usage("spool", None, at(1, 0), batch([row("a", NOW)])).await.unwrap();
        let sql = "SELECT concat_ws(' ', api_key_id, method, endpoint, timestamp AT TIME ZONE 'UTC', response_time_ms, status_code, \
                   client_ip, request_bytes, response_bytes, request_id) FROM api_key_usage";
        assert_eq!(
            database.sql(sql),
            "a GET /v1/models/some-model/predict 2026-11-22 10:00:00 12.345 200 203.0.113.7 120 4096 \
             0192f3c4-aaaa-7bbb-8ccc-0123456789ab"
        );
    }

    #[tokio::test]
    async fn a_key_that_somebody_is_changing_holds_up_no_other() {
        let (database, store) = migrated().await;
        for key_id in ["a", "b"] {
            store.insert_key(hash(key_id), record(key_id)).await.unwrap();
        }
        let (mut other, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
        let tasks = crate::drain::Tasks::new();
        tasks.spawn(async move { connection.await.unwrap() });
        let change = other.transaction().await.unwrap();
        change.batch_execute("UPDATE api_keys SET name = 'changed' WHERE key_id = 'a'").await.unwrap();
        store.touch_last_used(vec![("a".into(), NOW), ("b".into(), NOW)]).await.unwrap();
        change.commit().await.unwrap();
        let last_used = async |key_id: &str| store.get_key(&key_id.into()).await.unwrap().unwrap().last_used_at;
        assert_eq!((last_used("a").await, last_used("b").await), (None, Some(NOW)));
    }

    #[tokio::test]
    async fn the_most_active_keys_of_a_million_rows_are_told_within_a_second() {
        let (database, store) = migrated().await;
        store.make_room_for_usage(NOW).await.unwrap();
        database.sql(
            "INSERT INTO api_keys (key_id, key_hash, key_prefix, user_id, name)
                 SELECT 'key_' || n, 'hash_' || n, 'p', 'alice', 'a name' FROM generate_series(0, 999) AS n;
             INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code, method, request_id)
                 SELECT 'key_' || n::bigint * n % 1000, '/v1/models/some-model/predict',
                     '2026-11-22 00:00+00'::timestamptz + n * interval '80 ms', n % 100, 200, 'GET', 'request ' || n
                 FROM generate_series(1, 1000000) AS n",
        );
        let mut times = Vec::new();
        for _ in 0..3 {
            let asked_at = clock::monotonic();
            let top = store.usage_top(NOW.minus(Duration::from_hours(24)), 10).await.unwrap();
            assert_eq!(top.len(), 10);
            times.push(asked_at.elapsed());
        }
        assert!(times.iter().min() < Some(&Duration::from_secs(1)), "{times:?}");
    }
}
