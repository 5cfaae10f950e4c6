//! Who changed what: noted by the triggers of `sql/postgres/`, with the name that the change's transaction gives.
//!
//! What must stay true here: whoever writes the end of the chain holds a lock from before they read it until it is committed, so
//! that it never forks. Nobody waits for that lock: who holds it looks again before they are done.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use super::errors::Failure;
use super::values::{bigint, count, instant, timestamp};
use crate::model::audit_event::{Actor, AuditEvent, Seal};
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;
use crate::store::events::{self, EventFilter, Link, ListedEvent, SEALED_AT_ONCE, shown};

/// The number means nothing to anybody else.
const ONE_AT_A_TIME: &str = "SELECT pg_try_advisory_xact_lock(7305808870)";

/// What [`event`] and [`seal`] read.
const COLUMNS: &str = "e.event_id, e.at, e.action, e.key_id, e.actor, e.via, e.origin, e.database_role, e.before, e.after, \
                       s.position, s.event_id AS sealed_id, s.hash";

impl PostgresStore {
    pub async fn seal_events(&self) -> Result<Vec<Seal>, StoreError> {
        let waiting = "SELECT EXISTS (SELECT FROM api_key_events_unsealed)";
        let is_any: bool =
            self.read(async |client| Ok(client.query_one(&client.prepare_cached(waiting).await?, &[]).await?.get(0))).await?;
        if !is_any {
            return Ok(Vec::new());
        }
        self.change(async |transaction| {
            if !transaction.query_one(ONE_AT_A_TIME, &[]).await?.get::<_, bool>(0) {
                return Ok(Vec::new());
            }
            let last = "SELECT position, event_id AS sealed_id, hash FROM api_key_event_seals ORDER BY position DESC LIMIT 1";
            let last = transaction.query_opt(last, &[]).await?;
            let sql = format!(
                "SELECT {COLUMNS} FROM api_key_events_unsealed w JOIN api_key_events e USING (event_id) \
                 LEFT JOIN api_key_event_seals s USING (event_id) ORDER BY event_id LIMIT {SEALED_AT_ONCE}"
            );
            let events: Vec<AuditEvent> = transaction.query(&sql, &[]).await?.iter().map(event).collect();
            let seals = events::seals(last.as_ref().map(seal), &events);
            append(transaction, &seals).await?;
            Ok(seals)
        })
        .await
    }

    pub async fn was_a_secret(&self, hash: KeyHash, since: Timestamp) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT FROM api_key_events WHERE at >= $1 AND after LIKE '%' || $2::text || '%')";
        self.report(async |client| Ok(client.query_one(sql, &[&instant(since), &shown(hash)]).await?.get(0))).await
    }

    pub async fn list_events(&self, filter: &EventFilter) -> Result<Vec<ListedEvent>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM api_key_events e LEFT JOIN api_key_event_seals s USING (event_id) \
             WHERE ($1::text IS NULL OR e.key_id = $1) AND ($2::text IS NULL OR e.action = $2) AND e.at >= $3 \
             AND ($4::bigint IS NULL OR e.event_id < $4) ORDER BY e.event_id DESC LIMIT $5"
        );
        let EventFilter { key_id, action, since, before, most } = filter;
        let (key_id, since, before) = (key_id.as_ref().map(KeyId::as_str), instant(*since), before.map(bigint));
        let most = i64::try_from(*most).unwrap_or(i64::MAX);
        let wanted: [&(dyn ToSql + Sync); 5] = [&key_id, action, &since, &before, &most];
        let rows = self.report(async |client| Ok(client.query(&sql, &wanted).await?)).await?;
        let is_sealed = |row: &Row| row.get::<_, Option<i64>>("position").is_some();
        let listed = |row: &Row| ListedEvent { event: event(row), seal: is_sealed(row).then(|| seal(row)) };
        Ok(rows.iter().map(listed).collect())
    }

    pub async fn chain_after(&self, position: u64, most: usize) -> Result<Vec<Link>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM api_key_event_seals s LEFT JOIN api_key_events e USING (event_id) \
             WHERE s.position > $1 ORDER BY s.position LIMIT {most}"
        );
        let rows = self.report(async |client| Ok(client.query(&sql, &[&bigint(position)]).await?)).await?;
        let is_there = |row: &Row| row.get::<_, Option<i64>>(0).is_some();
        Ok(rows.iter().map(|row| Link { seal: seal(row), event: is_there(row).then(|| event(row)) }).collect())
    }

    pub async fn unsealed_events(&self) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT count(w.event_id), count(*) - count(w.event_id) FROM api_key_events e \
                   LEFT JOIN api_key_event_seals s USING (event_id) LEFT JOIN api_key_events_unsealed w USING (event_id) \
                   WHERE s.event_id IS NULL";
        let row = self.report(async |client| Ok(client.query_one(sql, &[]).await?)).await?;
        Ok((count(row.get(0)), count(row.get(1))))
    }
}

/// A statement by which a transaction says who makes it.
pub(super) fn says_who(actor: &Actor) -> String {
    let json = serde_json::to_string(actor).expect("texts are JSON");
    // Whatever standard_conforming_strings is.
    format!("SET LOCAL hokusai.actor = E'{}'", json.replace('\\', "\\\\").replace('\'', "''"))
}

async fn append(transaction: &deadpool_postgres::Client, seals: &[Seal]) -> Result<(), Failure> {
    let positions: Vec<i64> = seals.iter().map(|seal| bigint(seal.position)).collect();
    let ids: Vec<i64> = seals.iter().map(|seal| bigint(seal.event_id)).collect();
    let hashes: Vec<&str> = seals.iter().map(|seal| seal.hash.as_str()).collect();
    let sql =
        "INSERT INTO api_key_event_seals (position, event_id, hash) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[])";
    transaction.execute(sql, &[&positions, &ids, &hashes]).await?;
    transaction.execute("DELETE FROM api_key_events_unsealed WHERE event_id = ANY ($1)", &[&ids]).await?;
    Ok(())
}

fn event(row: &Row) -> AuditEvent {
    AuditEvent {
        event_id: count(row.get("event_id")),
        at: timestamp(row.get("at")),
        action: row.get("action"),
        key_id: row.get::<_, String>("key_id").into(),
        actor: row.get("actor"),
        via: row.get("via"),
        origin: row.get("origin"),
        database_role: row.get("database_role"),
        before: row.get("before"),
        after: row.get("after"),
    }
}

fn seal(row: &Row) -> Seal {
    Seal { position: count(row.get("position")), event_id: count(row.get("sealed_id")), hash: row.get("hash") }
}
