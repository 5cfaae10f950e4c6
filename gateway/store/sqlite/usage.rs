//! Usage: one row for each admitted request, and what is asked of the rows.
//!
//! What must stay true here: a batch of rows and the journal's position after it are committed together and are on the disk
//! before they are answered, so that the journal may delete what it handed over, and a batch that comes twice is written once.

mod rows;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::connections::SqliteStore;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::UsageBatch;
use crate::store::{JournalPosition, KeyUsage, StoreError};

/// Pages that SQLite keeps in memory while it writes a batch; those that are full are not looked at again. It forgets all of them
/// when another connection has written, so memory for more would go back to the system and come again with each batch.
const PAGES_KEPT: i64 = 32;

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
        rows: Arc<UsageBatch>,
    ) -> Result<JournalPosition, StoreError> {
        let spool_id = spool_id.to_owned();
        self.durable(move |connection| {
            with_few_pages(connection, |connection| write_batch(connection, &spool_id, after, upto, &rows))
        })
        .await
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

    #[expect(clippy::unused_async, reason = "the one table takes all; a store of several parts has to ask")]
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

/// Changes of keys, which this connection makes too, go here and there: they have use for as many as ever.
fn with_few_pages<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let usual: i64 = connection.pragma_query_value(None, "cache_size", |row| row.get(0))?;
    connection.pragma_update(None, "cache_size", PAGES_KEPT)?;
    let outcome = work(connection);
    connection.pragma_update(None, "cache_size", usual)?;
    outcome
}

fn write_batch(
    connection: &mut Connection,
    spool_id: &str,
    after: Option<JournalPosition>,
    upto: JournalPosition,
    rows: &UsageBatch,
) -> rusqlite::Result<JournalPosition> {
    let transaction = connection.transaction()?;
    let stands = position(&transaction, spool_id)?;
    if let Some(stands) = stands
        && Some(stands) != after
    {
        return Ok(stands);
    }
    rows::insert(&transaction, rows)?;
    move_position(&transaction, spool_id, upto)?;
    transaction.commit()?;
    Ok(upto)
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
    use std::time::Duration;

    use super::super::testing::{Folder, NOW, add_key, sqlite};
    use super::*;
    use crate::store::guarantees::usage::{at, batch, row};

    #[tokio::test]
    async fn changes_of_keys_have_as_many_pages_after_a_batch_as_before_it() {
        let (_folder, store) = Folder::migrated().await;
        let question =
            |connection: &mut Connection| connection.pragma_query_value(None, "cache_size", |row| row.get::<_, i64>(0));
        let before = sqlite(store.clone()).durable(question).await.unwrap();
        store.write_usage("spool", None, at(1, 0), batch([row("a", NOW)])).await.unwrap();
        assert_eq!(sqlite(store).durable(question).await.unwrap(), before);
    }

    /// With SQLite's words for the time and a fixed "now".
    #[tokio::test]
    async fn the_guides_statement_finds_the_most_active_keys() {
        let (folder, store) = Folder::migrated().await;
        add_key(&store, "a").await;
        let batch = batch([row("a", NOW), row("a", NOW), row("a", NOW.minus(Duration::from_hours(48)))]);
        store.write_usage("spool", None, at(1, 0), batch).await.unwrap();
        let guide = "SELECT k.name, k.user_id, COUNT(u.id) as request_count, AVG(u.response_time_ms) as avg_response_time \
                     FROM api_keys k JOIN api_key_usage u ON k.key_id = u.api_key_id \
                     WHERE u.timestamp > datetime('2026-11-22 10:00:00', '-24 hours') \
                     GROUP BY k.key_id, k.name, k.user_id ORDER BY request_count DESC LIMIT 10";
        let first: (String, u64) = folder.shell().query_row(guide, [], |row| Ok((row.get(0)?, row.get(2)?))).unwrap();
        assert_eq!(first, ("a name".to_owned(), 2));
    }
}
