//! The hours' counts, where the store is the authority over them: `api_key_hours` and `api_key_leases`.
//!
//! What must stay true here:
//! - `used` of an hour is what was admitted plus what is on lease and not spent, and no lease is granted beyond the limit.
//! - Each question is one transaction that holds the write lock from its start, so two gateways cannot both see the last permit.
//! - The clock is read after the lock was taken, so hours begin in the order in which questions are decided.
//! - Telling the end of a lease twice, or of one that a reset made void, changes nothing.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::SqliteStore;
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::lease::{Debt, Grant, LeaseAnswer, LeaseId, LeaseReport, LeaseRequest};
use crate::model::quota::HourWindow;
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;

/// One lease takes at most this part of what is left, so that several gateways share the last of an hour.
const LEASES_PER_REST: u64 = 10;

impl SqliteStore {
    /// Takes back what the request returns, then grants what the hour allows. `spool_id` is the name under which a killed
    /// gateway settles the lease later; `None` when it could not, and then nothing of the lease returns unless it is reported.
    pub async fn lease(&self, key_id: &KeyId, spool_id: Option<&str>, request: LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        let (key_id, spool_id) = (key_id.clone(), spool_id.unwrap_or_default().to_owned());
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            let answer = lease(&transaction, &key_id, &spool_id, &request, clock::now())?;
            transaction.commit()?;
            Ok(answer)
        })
        .await
    }

    /// Writes down what became of leases, and what was admitted without any.
    pub async fn settle_leases(&self, reports: Vec<LeaseReport>, debts: Vec<(KeyId, Debt)>) -> Result<(), StoreError> {
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            for report in &reports {
                settle(&transaction, report)?;
            }
            for (key_id, debt) in &debts {
                count(&transaction, key_id, debt.hour, debt.requests)?;
            }
            transaction.commit()
        })
        .await
    }

    /// What stands under a spool's name.
    pub async fn leases_of(&self, spool_id: &str) -> Result<Vec<Grant>, StoreError> {
        let spool_id = spool_id.to_owned();
        self.read(move |connection| leases_of(connection, &spool_id)).await
    }

    /// Requests admitted in the hour that contains `now`, as far as gateways have told.
    pub async fn hour_usage(&self, key_id: &KeyId, now: Timestamp) -> Result<u64, StoreError> {
        let key_id = key_id.clone();
        self.read(move |connection| hour_usage(connection, &key_id, HourWindow::containing(now))).await
    }

    /// Starts the current hour of a key anew: every lease is void, and gateways are told.
    pub async fn reset_hour(&self, key_id: &KeyId) -> Result<(), StoreError> {
        let key_id = key_id.clone();
        self.durable(move |connection| {
            let transaction = connection.transaction()?;
            reset_hour(&transaction, &key_id, clock::now())?;
            transaction.commit()
        })
        .await
    }
}

pub(crate) fn lease(
    transaction: &Transaction<'_>,
    key_id: &KeyId,
    spool_id: &str,
    request: &LeaseRequest,
    now: Timestamp,
) -> rusqlite::Result<LeaseAnswer> {
    let hour = HourWindow::containing(now);
    take_back(transaction, key_id, spool_id, request.ended)?;
    if let Some(debt) = request.debt {
        count(transaction, key_id, debt.hour, debt.requests)?;
    }
    let used = used(transaction, key_id, hour)?;
    let left = request.limit.saturating_sub(used);
    let permits = request.wanted.min((left / LEASES_PER_REST).max(1)).min(left);
    if permits == 0 {
        return Ok(LeaseAnswer { now, used, lease: None, others_hold: some_hold(transaction, key_id, hour)? });
    }
    count(transaction, key_id, hour, permits)?;
    let id = transaction
        .prepare_cached("INSERT INTO api_key_leases (key_id, hour, spool_id, granted) VALUES (?1, ?2, ?3, ?4)")?
        .insert(params![key_id.as_str(), hour.number(), spool_id, permits])?;
    let lease = Some(Grant { id: LeaseId::from_number(id), permits });
    Ok(LeaseAnswer { now, used: used + permits, lease, others_hold: false })
}

/// The lease that the gateway tells the end of, then whatever else of the key stands under its spool.
fn take_back(transaction: &Transaction<'_>, key_id: &KeyId, spool_id: &str, ended: Option<LeaseReport>) -> rusqlite::Result<()> {
    if let Some(report) = ended {
        settle(transaction, &report)?;
    }
    let lost: Vec<i64> = transaction
        .prepare_cached("SELECT lease_id FROM api_key_leases WHERE key_id = ?1 AND spool_id = ?2 AND spool_id <> ''")?
        .query_map(params![key_id.as_str(), spool_id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in lost {
        settle(transaction, &LeaseReport { id: LeaseId::from_number(id), spent: 0, finished: true })?;
    }
    Ok(())
}

pub(crate) fn settle(transaction: &Transaction<'_>, report: &LeaseReport) -> rusqlite::Result<()> {
    let (id, spent) = (report.id.number(), report.spent);
    if !report.finished {
        let mut update = transaction.prepare_cached("UPDATE api_key_leases SET spent = max(spent, ?2) WHERE lease_id = ?1")?;
        return update.execute(params![id, spent]).map(drop);
    }
    let ended: Option<(String, u64, u64)> = transaction
        .prepare_cached("DELETE FROM api_key_leases WHERE lease_id = ?1 RETURNING key_id, hour, granted")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((key_id, hour, granted)) = ended else { return Ok(()) };
    transaction
        .prepare_cached("UPDATE api_key_hours SET used = max(used - ?3, 0) WHERE key_id = ?1 AND hour = ?2")?
        .execute(params![key_id, hour, granted.saturating_sub(spent)])
        .map(drop)
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

pub(crate) fn leases_of(connection: &Connection, spool_id: &str) -> rusqlite::Result<Vec<Grant>> {
    connection
        .prepare_cached("SELECT lease_id, granted FROM api_key_leases WHERE spool_id = ?1")?
        .query_map([spool_id], |row| Ok(Grant { id: LeaseId::from_number(row.get(0)?), permits: row.get(1)? }))?
        .collect()
}

pub(crate) fn reset_hour(transaction: &Transaction<'_>, key_id: &KeyId, now: Timestamp) -> rusqlite::Result<()> {
    let (key_id, hour) = (key_id.as_str(), HourWindow::containing(now).number());
    transaction.execute("DELETE FROM api_key_leases WHERE key_id = ?1 AND hour = ?2", params![key_id, hour])?;
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
