//! The hours' counts, where the store is the authority over them: `api_key_hours` and `api_key_leases`.
//!
//! What must stay true here:
//! - `used` of an hour is what was admitted plus what is on lease and not spent, and no lease is granted beyond the limit.
//! - Each question is one transaction that holds the write lock from its start, so two gateways cannot both see the last permit.
//! - The clock is read after the lock was taken, so hours begin in the order in which questions are decided.
//! - A question is void once a later one of its gateway was carried out: what it would take back is in use by then.
//! - Telling the end of a lease twice, or of one that a reset made void, changes nothing.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::SqliteStore;
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::lease::{Grant, LeaseAnswer, LeaseId, LeaseReply, LeaseReport, LeaseRequest, News};
use crate::model::quota::HourWindow;
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;

/// One lease takes at most this part of what is left, so that several gateways share the last of an hour.
const LEASES_PER_REST: u64 = 10;
/// Who was refused asks again after a second.
const SHORT_FOR: Duration = Duration::from_millis(1500);

impl SqliteStore {
    /// Takes back what the request returns, then grants what the hour allows, unless a later question of the same key and spool
    /// was carried out before.
    pub async fn lease(
        &self,
        key_id: &KeyId,
        spool_id: &str,
        id: LeaseId,
        request: LeaseRequest,
    ) -> Result<LeaseReply, StoreError> {
        let (key_id, spool_id) = (key_id.clone(), spool_id.to_owned());
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            let reply = lease(&transaction, &key_id, &spool_id, id, &request, clock::now())?;
            transaction.commit()?;
            Ok(reply)
        })
        .await
    }

    /// Writes down what became of leases, and what was admitted without any. Says of each whether its lease is wanted back.
    pub async fn settle_leases(&self, spool_id: &str, news: Vec<News>) -> Result<Vec<bool>, StoreError> {
        let spool_id = spool_id.to_owned();
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            let now = clock::now();
            let wanted_back =
                news.iter().map(|news| settle(&transaction, &spool_id, news, now)).collect::<rusqlite::Result<_>>()?;
            transaction.commit()?;
            Ok(wanted_back)
        })
        .await
    }

    /// What a gateway that was killed has to settle.
    pub async fn leases_of(&self, spool_id: &str) -> Result<Vec<(KeyId, Grant)>, StoreError> {
        let spool_id = spool_id.to_owned();
        self.read(move |connection| leases_of(connection, &spool_id)).await
    }

    /// Requests admitted in the hour that contains `now`, as far as gateways have told.
    pub async fn hour_usage(&self, key_id: &KeyId, now: Timestamp) -> Result<u64, StoreError> {
        let key_id = key_id.clone();
        self.read(move |connection| hour_usage(connection, &key_id, HourWindow::containing(now))).await
    }

    /// Starts the current hour of a key anew: every lease is void, gateways are told, and it is noted as an event.
    pub async fn reset_hour(&self, key_id: &KeyId) -> Result<(), StoreError> {
        let key_id = key_id.clone();
        self.change(move |transaction| {
            reset_hour(transaction, &key_id, clock::now())?;
            let noted = "INSERT INTO api_key_event (action, key_id) VALUES ('limit_reset', ?1)";
            transaction.execute(noted, [key_id.as_str()]).map(drop)
        })
        .await
    }
}

pub(crate) fn lease(
    transaction: &Transaction<'_>,
    key_id: &KeyId,
    spool_id: &str,
    id: LeaseId,
    request: &LeaseRequest,
    now: Timestamp,
) -> rusqlite::Result<LeaseReply> {
    let hour = HourWindow::containing(now);
    if let Some(own) = OwnLease::find(transaction, key_id, spool_id)? {
        if own.id >= id {
            return Ok(LeaseReply::Late(own.id));
        }
        own.end(transaction, key_id, spool_id, own.spent_as_told(request.ended))?;
    }
    if let Some(debt) = request.debt {
        count(transaction, key_id, debt.hour, debt.requests)?;
    }
    let used = used(transaction, key_id, hour)?;
    let left = request.limit.saturating_sub(used);
    let permits = request.wanted.min((left / LEASES_PER_REST).max(1)).min(left);
    let mut others_hold = false;
    if permits > 0 {
        count(transaction, key_id, hour, permits)?;
    } else if request.wanted > 0 {
        others_hold = some_hold(transaction, key_id, hour)?;
        if others_hold {
            note_shortage(transaction, key_id, now)?;
        }
    }
    transaction.prepare_cached("INSERT OR REPLACE INTO api_key_leases VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)")?.execute(params![
        key_id.as_str(),
        spool_id,
        id.number(),
        hour.number(),
        permits,
        request.is_spooled
    ])?;
    let lease = (permits > 0).then_some(Grant { id, permits });
    Ok(LeaseReply::Decided(LeaseAnswer { now, used: used + permits, lease, others_hold }))
}

/// Whether the lease is wanted back: it is void, or somebody was refused.
pub(crate) fn settle(
    transaction: &Transaction<'_>,
    spool_id: &str,
    (key_id, report): &News,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    if let Some(debt) = report.debt {
        count(transaction, key_id, debt.hour, debt.requests)?;
    }
    let Some(told) = report.lease else { return Ok(false) };
    let own = OwnLease::find(transaction, key_id, spool_id)?;
    let Some(own) = own.filter(|own| own.id == told.id && own.granted > 0) else { return Ok(!told.finished) };
    if told.finished {
        return own.end(transaction, key_id, spool_id, told.spent).map(|()| false);
    }
    transaction
        .prepare_cached("UPDATE api_key_leases SET spent = max(spent, min(?3, granted)) WHERE key_id = ?1 AND spool_id = ?2")?
        .execute(params![key_id.as_str(), spool_id, told.spent])?;
    is_short(transaction, key_id, own.hour, now)
}

/// What a gateway has last asked of a key.
struct OwnLease {
    id: LeaseId,
    hour: HourWindow,
    /// 0: it is over.
    granted: u64,
    is_spooled: bool,
}

impl OwnLease {
    fn find(connection: &Connection, key_id: &KeyId, spool_id: &str) -> rusqlite::Result<Option<Self>> {
        let read = |row: &Row<'_>| {
            let (id, hour) = (LeaseId::from_number(row.get(0)?), HourWindow::from_number(row.get(1)?));
            Ok(Self { id, hour, granted: row.get(2)?, is_spooled: row.get(3)? })
        };
        let sql = "SELECT lease_id, hour, granted, is_spooled FROM api_key_leases WHERE key_id = ?1 AND spool_id = ?2";
        connection.prepare_cached(sql)?.query_row(params![key_id.as_str(), spool_id], read).optional()
    }

    /// A lease that is not told of was granted in an answer that never arrived.
    fn spent_as_told(&self, ended: Option<LeaseReport>) -> u64 {
        match ended.filter(|report| report.id == self.id) {
            Some(report) => report.spent,
            None if self.is_spooled => 0,
            None => self.granted,
        }
    }

    /// What was not spent goes back.
    fn end(&self, transaction: &Transaction<'_>, key_id: &KeyId, spool_id: &str, spent: u64) -> rusqlite::Result<()> {
        let key_id = key_id.as_str();
        transaction
            .prepare_cached("UPDATE api_key_hours SET used = max(used - ?3, 0) WHERE key_id = ?1 AND hour = ?2")?
            .execute(params![key_id, self.hour.number(), self.granted.saturating_sub(spent)])?;
        transaction
            .prepare_cached("UPDATE api_key_leases SET granted = 0, spent = 0 WHERE key_id = ?1 AND spool_id = ?2")?
            .execute(params![key_id, spool_id])
            .map(drop)
    }
}

/// Adds to an hour. With its first request, what the key has left from before the previous hour goes.
pub(crate) fn count(transaction: &Transaction<'_>, key_id: &KeyId, hour: HourWindow, more: u64) -> rusqlite::Result<()> {
    let (key_id, hour) = (key_id.as_str(), hour.number());
    let known = transaction
        .prepare_cached("UPDATE api_key_hours SET used = used + ?3 WHERE key_id = ?1 AND hour = ?2")?
        .execute(params![key_id, hour, more])?;
    if known > 0 {
        return Ok(());
    }
    for past in [
        "DELETE FROM api_key_hours WHERE key_id = ?1 AND hour < ?2 - 1",
        "DELETE FROM api_key_leases WHERE key_id = ?1 AND hour < ?2 - 1",
    ] {
        transaction.prepare_cached(past)?.execute(params![key_id, hour])?;
    }
    transaction
        .prepare_cached("INSERT INTO api_key_hours (key_id, hour, used) VALUES (?1, ?2, ?3)")?
        .execute(params![key_id, hour, more])
        .map(drop)
}

pub(crate) fn leases_of(connection: &Connection, spool_id: &str) -> rusqlite::Result<Vec<(KeyId, Grant)>> {
    let read = |row: &Row<'_>| {
        let lease = Grant { id: LeaseId::from_number(row.get(1)?), permits: row.get(2)? };
        Ok((row.get::<_, String>(0)?.into(), lease))
    };
    let sql = "SELECT key_id, lease_id, granted FROM api_key_leases WHERE spool_id = ?1 AND granted > 0 AND is_spooled";
    connection.prepare_cached(sql)?.query_map([spool_id], read)?.collect()
}

pub(crate) fn reset_hour(transaction: &Transaction<'_>, key_id: &KeyId, now: Timestamp) -> rusqlite::Result<()> {
    let (key_id, hour) = (key_id.as_str(), HourWindow::containing(now).number());
    let void = "UPDATE api_key_leases SET granted = 0, spent = 0 WHERE key_id = ?1 AND hour = ?2";
    transaction.execute(void, params![key_id, hour])?;
    transaction.execute("DELETE FROM api_key_hours WHERE key_id = ?1 AND hour = ?2", params![key_id, hour])?;
    transaction.execute("INSERT INTO api_key_changes (kind, key_id) VALUES ('limit', ?1)", [key_id]).map(drop)
}

pub(crate) fn hour_usage(connection: &Connection, key_id: &KeyId, hour: HourWindow) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT max(0, used - (SELECT coalesce(sum(granted - spent), 0) FROM api_key_leases WHERE key_id = ?1 AND hour = ?2))
             FROM api_key_hours WHERE key_id = ?1 AND hour = ?2",
        )?
        .query_row(params![key_id.as_str(), hour.number()], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

/// Counted in the hour, what is on lease included.
fn used(connection: &Connection, key_id: &KeyId, hour: HourWindow) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT used FROM api_key_hours WHERE key_id = ?1 AND hour = ?2")?
        .query_row(params![key_id.as_str(), hour.number()], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

fn some_hold(connection: &Connection, key_id: &KeyId, hour: HourWindow) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM api_key_leases WHERE key_id = ?1 AND hour = ?2 AND granted > spent)")?
        .query_row(params![key_id.as_str(), hour.number()], |row| row.get(0))
}

fn note_shortage(transaction: &Transaction<'_>, key_id: &KeyId, now: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE api_key_hours SET short_at = ?3 WHERE key_id = ?1 AND hour = ?2")?
        .execute(params![key_id.as_str(), HourWindow::containing(now).number(), now.as_millis()])
        .map(drop)
}

fn is_short(connection: &Connection, key_id: &KeyId, hour: HourWindow, now: Timestamp) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM api_key_hours WHERE key_id = ?1 AND hour = ?2 AND short_at > ?3)")?
        .query_row(params![key_id.as_str(), hour.number(), now.minus(SHORT_FOR).as_millis()], |row| row.get(0))
}
