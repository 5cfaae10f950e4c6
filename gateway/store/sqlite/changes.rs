//! What changed, by whomever: the triggers of `sql/sqlite/` write a numbered row for each change, in the same transaction.
//!
//! What must stay true here: a change that was committed before the question is in its answer, or the answer is
//! [`Changed::Anything`]. Numbers have no gaps (SQLite takes back a number with its transaction), so rows that are missing
//! were pruned.
//!
//! Gateways ask ten times a second. The newest number is one row of `sqlite_sequence`, which outlives the pruning of the rows;
//! reading it takes 4 µs of a reader thread. `PRAGMA data_version` takes 2 µs, but does not show what its own connection
//! changed, and would need one that nobody else uses.

use rusqlite::{Connection, OptionalExtension, Row};

use super::connections::SqliteStore;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::timestamp::Timestamp;
use crate::store::{Change, Changed, Changes, StoreError};

/// Beyond this it is cheaper to read again what is asked for than to go through a list.
const MAX_CHANGES: i64 = 10_000;

impl SqliteStore {
    /// The cursor that nothing has changed after yet.
    pub async fn change_cursor(&self) -> Result<i64, StoreError> {
        self.read(|connection| newest(connection)).await
    }

    /// All changes since `cursor` was the cursor.
    pub async fn changes_since(&self, cursor: i64) -> Result<Changes, StoreError> {
        self.read(move |connection| changes_since(connection, cursor)).await
    }

    /// Forgets changes made before this instant. Who asks with a cursor from before then is told [`Changed::Anything`].
    /// Returns how many they were.
    pub async fn prune_changes(&self, before: Timestamp) -> Result<usize, StoreError> {
        let sql = "DELETE FROM api_key_changes WHERE changed_at < ?1";
        self.write(move |connection| connection.prepare_cached(sql)?.execute([before.to_sql_text()])).await
    }
}

fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'api_key_changes'";
    let newest = connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(newest.unwrap_or(0))
}

fn changes_since(connection: &mut Connection, cursor: i64) -> rusqlite::Result<Changes> {
    // Both questions are of the same instant.
    let snapshot = connection.transaction()?;
    let upto = newest(&snapshot)?;
    // A cursor from the future is of another database: this one was restored from a backup.
    let changed = match upto - cursor {
        0 => Changed::These(Vec::new()),
        1..=MAX_CHANGES => listed(&snapshot, cursor, upto)?,
        _ => Changed::Anything,
    };
    Ok(Changes { upto, changed })
}

fn listed(connection: &Connection, cursor: i64, upto: i64) -> rusqlite::Result<Changed> {
    let sql = "SELECT kind, key_id, key_hash FROM api_key_changes WHERE version > ?1 ORDER BY version";
    let rows: Vec<Option<Change>> =
        connection.prepare_cached(sql)?.query_map([cursor], change)?.collect::<rusqlite::Result<_>>()?;
    match i64::try_from(rows.len()) == Ok(upto - cursor) {
        true => Ok(Changed::These(rows.into_iter().flatten().collect())),
        false => Ok(Changed::Anything),
    }
}

/// `None` for a hash that is none, of a row written by hand: no key has it, so nobody holds what changed.
fn change(row: &Row<'_>) -> rusqlite::Result<Option<Change>> {
    if row.get_ref("kind")?.as_str() == Ok("limit") {
        return Ok(Some(Change::Limit(KeyId::from(row.get::<_, String>("key_id")?))));
    }
    let hash: String = row.get("key_hash")?;
    Ok(KeyHash::from_hex(&hash).map(Change::Key))
}
