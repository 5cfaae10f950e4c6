//! Who changed what: noted by the triggers of `sql/sqlite/`, with the name that the change's transaction gives.
//!
//! What must stay true here: the end of the chain is read and written in one transaction that holds the write lock, so that it
//! never forks.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::connections::SqliteStore;
use crate::model::audit_event::{Actor, AuditEvent, Seal};
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;
use crate::store::events::{self, EventFilter, Link, ListedEvent, SEALED_AT_ONCE, shown};

/// What [`event`] and [`seal`] read.
const COLUMNS: &str = "e.event_id, e.at, e.action, e.key_id, e.actor, e.via, e.origin, e.before, e.after, \
                       s.position, s.event_id AS sealed_id, s.hash";

impl SqliteStore {
    /// All or nothing, on the disk, and noted as done by whom this store acts as.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let actor = self.actor.clone();
        self.durable(move |connection| noted(connection, actor.as_deref(), job)).await
    }

    /// As [`change`](Self::change), for a change of whole tables.
    pub(super) async fn change_many<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let actor = self.actor.clone();
        self.overhaul(move |connection| noted(connection, actor.as_deref(), job)).await
    }

    pub async fn seal_events(&self) -> Result<Vec<Seal>, StoreError> {
        let waiting = "SELECT EXISTS (SELECT 1 FROM api_key_events_unsealed)";
        let is_any: bool = self.read(|connection| connection.prepare_cached(waiting)?.query_row([], |row| row.get(0))).await?;
        // Only a change of the chain takes the write lock.
        if !is_any {
            return Ok(Vec::new());
        }
        self.durable(seal_some).await
    }

    pub async fn was_a_secret(&self, hash: KeyHash, since: Timestamp) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM api_key_events WHERE at >= ?1 AND after LIKE '%' || ?2 || '%')";
        let wanted = (since.to_sql_text(), shown(hash));
        self.report(move |connection| connection.query_row(sql, wanted, |row| row.get(0))).await
    }

    pub async fn list_events(&self, filter: &EventFilter) -> Result<Vec<ListedEvent>, StoreError> {
        let filter = filter.clone();
        self.report(move |connection| list(connection, &filter)).await
    }

    pub async fn chain_after(&self, position: u64, most: usize) -> Result<Vec<Link>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM api_key_event_seals s LEFT JOIN api_key_events e USING (event_id) \
             WHERE s.position > ?1 ORDER BY s.position LIMIT ?2"
        );
        let link = |row: &Row<'_>| {
            let has_event = row.get::<_, Option<u64>>("event_id")?.is_some();
            Ok(Link { seal: seal(row)?, event: if has_event { Some(event(row)?) } else { None } })
        };
        self.report(move |connection| connection.prepare(&sql)?.query_map(params![position, most], link)?.collect()).await
    }

    pub async fn unsealed_events(&self) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT count(w.event_id), count(*) - count(w.event_id) FROM api_key_events e \
                   LEFT JOIN api_key_event_seals s USING (event_id) LEFT JOIN api_key_events_unsealed w USING (event_id) \
                   WHERE s.event_id IS NULL";
        self.report(|connection| connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))).await
    }
}

fn noted<T>(
    connection: &mut Connection,
    actor: Option<&Actor>,
    job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction()?;
    if let Some(actor) = actor {
        let named = "INSERT INTO api_key_actor (name, via, origin) VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(named)?.execute(params![actor.name(), actor.via().as_str(), actor.origin()])?;
    }
    let answer = job(&transaction)?;
    if actor.is_some() {
        transaction.prepare_cached("DELETE FROM api_key_actor")?.execute([])?;
    }
    transaction.commit()?;
    Ok(answer)
}

fn seal_some(connection: &mut Connection) -> rusqlite::Result<Vec<Seal>> {
    let transaction = connection.transaction()?;
    let sql = "SELECT position, event_id AS sealed_id, hash FROM api_key_event_seals ORDER BY position DESC LIMIT 1";
    let last = transaction.prepare_cached(sql)?.query_row([], seal).optional()?;
    let sql = format!(
        "SELECT {COLUMNS} FROM api_key_events_unsealed w JOIN api_key_events e USING (event_id) \
         LEFT JOIN api_key_event_seals s USING (event_id) ORDER BY w.event_id LIMIT ?1"
    );
    let events: Vec<AuditEvent> =
        transaction.prepare_cached(&sql)?.query_map([SEALED_AT_ONCE], event)?.collect::<rusqlite::Result<_>>()?;
    let seals = events::seals(last, &events);
    for Seal { position, event_id, hash } in &seals {
        let sql = "INSERT INTO api_key_event_seals (position, event_id, hash) VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute(params![position, event_id, hash])?;
        transaction.prepare_cached("DELETE FROM api_key_events_unsealed WHERE event_id = ?1")?.execute([event_id])?;
    }
    transaction.commit()?;
    Ok(seals)
}

fn list(connection: &Connection, filter: &EventFilter) -> rusqlite::Result<Vec<ListedEvent>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM api_key_events e LEFT JOIN api_key_event_seals s USING (event_id) \
         WHERE (?1 IS NULL OR e.key_id = ?1) AND (?2 IS NULL OR e.action = ?2) AND e.at >= ?3 \
         AND (?4 IS NULL OR e.event_id < ?4) ORDER BY e.event_id DESC LIMIT ?5"
    );
    let EventFilter { key_id, action, since, before, most } = filter;
    let wanted = params![key_id.as_ref().map(KeyId::as_str), action, since.to_sql_text(), before, most];
    let listed = |row: &Row<'_>| {
        let is_sealed = row.get::<_, Option<u64>>("position")?.is_some();
        Ok(ListedEvent { event: event(row)?, seal: if is_sealed { Some(seal(row)?) } else { None } })
    };
    connection.prepare(&sql)?.query_map(wanted, listed)?.collect()
}

fn event(row: &Row<'_>) -> rusqlite::Result<AuditEvent> {
    Ok(AuditEvent {
        event_id: row.get("event_id")?,
        at: Timestamp::parse(&row.get::<_, String>("at")?).unwrap_or_default(),
        action: row.get("action")?,
        key_id: row.get::<_, String>("key_id")?.into(),
        actor: row.get("actor")?,
        via: row.get("via")?,
        origin: row.get("origin")?,
        database_role: None,
        before: row.get("before")?,
        after: row.get("after")?,
    })
}

fn seal(row: &Row<'_>) -> rusqlite::Result<Seal> {
    Ok(Seal { position: row.get("position")?, event_id: row.get("sealed_id")?, hash: row.get("hash")? })
}
