//! Usage: one row for each admitted request, and what is asked of the rows.
//!
//! What must stay true here: a batch of rows and the journal's position after it are committed together and are on the disk
//! before they are answered, so that the journal may delete what it handed over, and a batch that comes twice is written once.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::connections::SqliteStore;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::store::{JournalPosition, KeyUsage, StoreError, UsageRow};

impl SqliteStore {
    /// Where this spool's journal stands; `None`: nothing of it was written yet.
    pub async fn usage_position(&self, spool_id: &str) -> Result<Option<JournalPosition>, StoreError> {
        let spool_id = spool_id.to_owned();
        self.read(move |connection| position(connection, &spool_id)).await
    }

    /// Writes the rows between two positions of a journal, if the store has it at the first or does not know it. Returns where
    /// the store has it now: at `upto`, by this call or by an earlier one whose answer was lost; or elsewhere, when nothing
    /// was written and the caller has to go on from there.
    pub async fn write_usage(
        &self,
        spool_id: &str,
        after: Option<JournalPosition>,
        upto: JournalPosition,
        rows: Vec<UsageRow>,
    ) -> Result<JournalPosition, StoreError> {
        let spool_id = spool_id.to_owned();
        self.durable(move |connection| write_batch(connection, &spool_id, after, upto, &rows)).await
    }

    /// Notes when keys were last used. A time earlier than the one noted changes nothing.
    pub async fn touch_last_used(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), StoreError> {
        self.write(move |connection| touch(connection, &used)).await
    }

    /// The keys with the most requests since then, the most active first.
    pub async fn usage_top(&self, since: Timestamp, limit: usize) -> Result<Vec<KeyUsage>, StoreError> {
        self.report(move |connection| top(connection, since, limit)).await
    }

    pub async fn count_usage_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM api_key_usage WHERE timestamp < ?1";
        self.report(move |connection| connection.query_row(sql, [before.to_sql_text()], |row| row.get(0))).await
    }

    #[expect(clippy::unused_async, clippy::unused_self, reason = "the one table takes all; a store of several parts has to ask")]
    pub async fn make_room_for_usage(&self, _now: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    /// Deletes the oldest rows from before then, at most `max_rows`. Returns how many they were.
    pub async fn delete_usage_before(&self, before: Timestamp, max_rows: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM api_key_usage WHERE id IN \
                   (SELECT id FROM api_key_usage WHERE timestamp < ?1 ORDER BY timestamp LIMIT ?2)";
        self.write(move |connection| connection.prepare_cached(sql)?.execute(params![before.to_sql_text(), max_rows])).await
    }
}

fn position(connection: &Connection, spool_id: &str) -> rusqlite::Result<Option<JournalPosition>> {
    let sql = "SELECT segment, offset FROM api_key_usage_positions WHERE spool_id = ?1";
    connection
        .prepare_cached(sql)?
        .query_row([spool_id], |row| Ok(JournalPosition { segment: row.get(0)?, offset: row.get(1)? }))
        .optional()
}

fn write_batch(
    connection: &mut Connection,
    spool_id: &str,
    after: Option<JournalPosition>,
    upto: JournalPosition,
    rows: &[UsageRow],
) -> rusqlite::Result<JournalPosition> {
    let transaction = connection.transaction()?;
    let stands = position(&transaction, spool_id)?;
    if let Some(stands) = stands
        && Some(stands) != after
    {
        return Ok(stands);
    }
    insert(&transaction, rows)?;
    move_position(&transaction, spool_id, upto)?;
    transaction.commit()?;
    Ok(upto)
}

fn insert(transaction: &Transaction<'_>, rows: &[UsageRow]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code, method, request_id, \
         client_ip, request_bytes, response_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for row in rows {
        statement.execute(params![
            row.key_id,
            row.endpoint,
            row.timestamp.to_sql_text(),
            Duration::from_micros(row.response_micros).as_secs_f64() * 1000.0,
            row.status,
            row.method,
            row.request_id,
            row.client_ip.map(|address| address.to_string()),
            row.request_bytes,
            row.response_bytes,
        ])?;
    }
    Ok(())
}

fn move_position(transaction: &Transaction<'_>, spool_id: &str, upto: JournalPosition) -> rusqlite::Result<usize> {
    let sql = "INSERT OR REPLACE INTO api_key_usage_positions (spool_id, segment, offset, written_at) \
               VALUES (?1, ?2, ?3, strftime('%Y-%m-%d %H:%M:%f', 'now'))";
    transaction.prepare_cached(sql)?.execute(params![spool_id, upto.segment, upto.offset])
}

fn touch(connection: &mut Connection, used: &[(KeyId, Timestamp)]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut statement = transaction.prepare_cached(
        "UPDATE api_keys SET last_used_at = ?2 \
         WHERE key_id = ?1 AND coalesce(strftime('%Y-%m-%d %H:%M:%f', last_used_at), '') < ?2",
    )?;
    for (key_id, when) in used {
        statement.execute(params![key_id.as_str(), when.to_sql_text()])?;
    }
    drop(statement);
    transaction.commit()
}

fn top(connection: &Connection, since: Timestamp, limit: usize) -> rusqlite::Result<Vec<KeyUsage>> {
    let sql = "SELECT k.name, k.user_id, count(*) AS request_count, avg(u.response_time_ms) \
               FROM api_key_usage u JOIN api_keys k ON k.key_id = u.api_key_id WHERE u.timestamp >= ?1 \
               GROUP BY k.key_id ORDER BY request_count DESC, k.key_id LIMIT ?2";
    connection
        .prepare(sql)?
        .query_map(params![since.to_sql_text(), limit], |row| {
            Ok(KeyUsage {
                name: row.get(0)?,
                user_id: row.get(1)?,
                request_count: row.get(2)?,
                avg_response_time_ms: row.get(3)?,
            })
        })?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, NOW, hash, record};
    use super::*;
    use crate::clock;
    use crate::store::Store;

    fn at(segment: u64, offset: u64) -> JournalPosition {
        JournalPosition { segment, offset }
    }

    fn row(key_id: &str, timestamp: Timestamp) -> UsageRow {
        UsageRow {
            key_id: key_id.to_owned(),
            request_id: "0192f3c4-aaaa-7bbb-8ccc-0123456789ab".to_owned(),
            method: "GET".to_owned(),
            endpoint: "/v1/models/some-model/predict".to_owned(),
            status: 200,
            timestamp,
            response_micros: 12_345,
            request_bytes: 120,
            response_bytes: 4096,
            client_ip: Some([203, 0, 113, 7].into()),
        }
    }

    async fn rows(store: &Store) -> u64 {
        store.migration_status().await.unwrap().api_key_usage.unwrap()
    }

    #[tokio::test]
    async fn a_batch_that_comes_twice_is_written_once() {
        let (_folder, store) = Folder::migrated().await;
        let batch = || vec![row("a", NOW), row("b", NOW)];
        assert_eq!(store.usage_position("spool").await.unwrap(), None);
        for _ in 0..2 {
            assert_eq!(store.write_usage("spool", None, at(1, 100), batch()).await.unwrap(), at(1, 100));
        }
        assert_eq!(rows(&store).await, 2);
        assert_eq!(store.write_usage("spool", Some(at(1, 100)), at(2, 8), batch()).await.unwrap(), at(2, 8));
        assert_eq!(store.usage_position("spool").await.unwrap(), Some(at(2, 8)));
        assert_eq!(rows(&store).await, 4);
    }

    #[tokio::test]
    async fn a_batch_from_a_position_that_has_passed_is_not_written_and_told_where_to_go_on() {
        let (_folder, store) = Folder::migrated().await;
        store.write_usage("spool", None, at(1, 100), vec![row("a", NOW)]).await.unwrap();
        let longer = store.write_usage("spool", None, at(1, 200), vec![row("a", NOW), row("b", NOW)]).await.unwrap();
        assert_eq!((longer, rows(&store).await), (at(1, 100), 1));
    }

    #[tokio::test]
    async fn two_spools_keep_their_own_positions() {
        let (_folder, store) = Folder::migrated().await;
        store.write_usage("one", None, at(1, 1), vec![row("a", NOW)]).await.unwrap();
        assert_eq!(store.write_usage("two", None, at(9, 9), vec![row("a", NOW)]).await.unwrap(), at(9, 9));
        assert_eq!(store.usage_position("one").await.unwrap(), Some(at(1, 1)));
    }

    #[tokio::test]
    async fn a_row_has_all_that_was_recorded() {
        let (folder, store) = Folder::migrated().await;
        store.write_usage("spool", None, at(1, 1), vec![row("a", NOW)]).await.unwrap();
        let sql = "SELECT concat_ws(' ', api_key_id, method, endpoint, timestamp, response_time_ms, status_code, client_ip, \
                   request_bytes, response_bytes, request_id) FROM api_key_usage";
        let text: String = folder.shell().query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(
            text,
            "a GET /v1/models/some-model/predict 2026-11-22 10:00:00.000 12.345 200 203.0.113.7 120 4096 \
             0192f3c4-aaaa-7bbb-8ccc-0123456789ab"
        );
    }

    #[tokio::test]
    async fn last_used_never_moves_back() {
        let (folder, store) = Folder::migrated().await;
        let used = async |store: &Store| store.get_key(&"a".into()).await.unwrap().unwrap().last_used_at;
        store.insert_key(hash("a"), record("a")).await.unwrap();
        let earlier = NOW.minus(Duration::from_secs(1));
        store.touch_last_used(vec![("a".into(), NOW), ("deleted".into(), NOW)]).await.unwrap();
        assert_eq!(used(&store).await, Some(NOW));
        store.touch_last_used(vec![("a".into(), earlier)]).await.unwrap();
        assert_eq!(used(&store).await, Some(NOW));
        folder.shell().execute("UPDATE api_keys SET last_used_at = '2026-11-22T10:00:00.500Z'", []).unwrap();
        store.touch_last_used(vec![("a".into(), NOW)]).await.unwrap();
        assert_eq!(used(&store).await, Some(NOW.plus(Duration::from_millis(500))));
    }

    #[tokio::test]
    async fn the_most_active_keys_come_first_with_their_mean_time() {
        let (folder, store) = Folder::migrated().await;
        for key_id in ["busy", "calm", "idle"] {
            store
                .insert_key(hash(key_id), crate::model::key_record::KeyRecord { name: key_id.to_owned(), ..record(key_id) })
                .await
                .unwrap();
        }
        let long_ago = NOW.minus(Duration::from_hours(48));
        let slow = UsageRow { response_micros: 20_345, ..row("busy", NOW) };
        let batch = vec![row("calm", NOW), row("busy", NOW), slow, row("idle", long_ago), row("deleted", NOW)];
        store.write_usage("spool", None, at(1, 1), batch).await.unwrap();

        let top = store.usage_top(NOW.minus(Duration::from_hours(24)), 10).await.unwrap();
        let shown: Vec<_> = top.iter().map(|usage| (usage.name.as_str(), usage.user_id.as_str(), usage.request_count)).collect();
        assert_eq!(shown, [("busy", "alice", 2), ("calm", "alice", 1)]);
        assert!((top[0].avg_response_time_ms - 16.345).abs() < 1e-9);
        assert_eq!(store.usage_top(long_ago, 1).await.unwrap(), top[..1]);

        // The guide's statement, with SQLite's words for the time and a fixed "now".
        let guide = "SELECT k.name, k.user_id, COUNT(u.id) as request_count, AVG(u.response_time_ms) as avg_response_time \
                     FROM api_keys k JOIN api_key_usage u ON k.key_id = u.api_key_id \
                     WHERE u.timestamp > datetime('2026-11-22 10:00:00', '-24 hours') \
                     GROUP BY k.key_id, k.name, k.user_id ORDER BY request_count DESC LIMIT 10";
        let first: (String, u64) = folder.shell().query_row(guide, [], |row| Ok((row.get(0)?, row.get(2)?))).unwrap();
        assert_eq!(first, ("busy".to_owned(), 2));
    }

    #[tokio::test]
    async fn old_usage_is_deleted_oldest_first_in_bounded_batches() {
        let (_folder, store) = Folder::migrated().await;
        let batch = (0..10).map(|second| row("a", NOW.plus(Duration::from_secs(second)))).collect();
        store.write_usage("spool", None, at(1, 1), batch).await.unwrap();
        let end = NOW.plus(Duration::from_secs(7));
        assert_eq!(store.count_usage_before(end).await.unwrap(), 7);
        assert_eq!(store.delete_usage_before(end, 5).await.unwrap(), 5);
        assert_eq!(store.count_usage_before(NOW.plus(Duration::from_secs(5))).await.unwrap(), 0);
        assert_eq!(store.delete_usage_before(end, 5).await.unwrap(), 2);
        assert_eq!(rows(&store).await, 3);
    }

    /// `cargo test --lib -- --ignored --nocapture rows_a_second`
    #[tokio::test]
    #[ignore = "a measurement"]
    async fn rows_a_second() {
        let (_folder, store) = Folder::migrated().await;
        let mut after = None;
        for batch in 1..=20 {
            let rows = (0..5000).map(|n| row(&format!("key_{}", n % 100), NOW.plus(Duration::from_millis(n)))).collect();
            let began = clock::monotonic();
            after = Some(store.write_usage("spool", after, at(batch, 0), rows).await.unwrap());
            eprintln!("{:.0} rows/s", 5000.0 / began.elapsed().as_secs_f64());
        }
    }
}
