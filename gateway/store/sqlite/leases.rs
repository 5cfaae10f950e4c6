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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Change;
    use crate::store::sqlite::testing::{NOW, sqlite};

    const KEY: &str = "key_1";
    const HOUR: Duration = Duration::from_hours(1);

    fn authority() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../../sql/sqlite/0001_api_keys.up.sql")).unwrap();
        connection
    }

    fn ask(authority: &mut Connection, spool_id: &str, request: &LeaseRequest, now: Timestamp) -> LeaseAnswer {
        let transaction = authority.transaction().unwrap();
        let answer = lease(&transaction, &KEY.into(), spool_id, request, now).unwrap();
        transaction.commit().unwrap();
        answer
    }

    fn tell(authority: &mut Connection, id: LeaseId, spent: u64, finished: bool) {
        let transaction = authority.transaction().unwrap();
        settle(&transaction, &LeaseReport { id, spent, finished }).unwrap();
        transaction.commit().unwrap();
    }

    fn spent(authority: &Connection) -> u64 {
        hour_usage(authority, &KEY.into(), HourWindow::containing(NOW)).unwrap()
    }

    fn wanting(limit: u64) -> LeaseRequest {
        LeaseRequest { limit, wanted: limit, ended: None, debt: None }
    }

    #[test]
    fn leases_become_smaller_as_less_is_left_until_nothing_is() {
        let mut authority = authority();
        let mut granted = Vec::new();
        while let Some(lease) = ask(&mut authority, "", &wanting(100), NOW).lease {
            granted.push(lease.permits);
        }
        assert_eq!(granted[..4], [10, 9, 8, 7]);
        assert_eq!(granted.last(), Some(&1));
        assert_eq!(granted.iter().sum::<u64>(), 100);
    }

    #[test]
    fn what_is_on_lease_is_counted_and_shown_only_as_far_as_it_was_spent() {
        let mut authority = authority();
        let lease = ask(&mut authority, "a", &wanting(100), NOW).lease.unwrap();
        assert_eq!(spent(&authority), 0);
        tell(&mut authority, lease.id, 4, false);
        tell(&mut authority, lease.id, 3, false);
        assert_eq!(spent(&authority), 4, "an older report changes nothing");
        tell(&mut authority, lease.id, 5, true);
        tell(&mut authority, lease.id, 5, true);
        assert_eq!(spent(&authority), 5, "nor does one that is told twice");
        assert_eq!(ask(&mut authority, "a", &wanting(100), NOW).used, 5 + 9);
    }

    #[test]
    fn a_lease_whose_answer_was_lost_goes_back_with_the_next_question_unless_it_has_no_name() {
        let mut authority = authority();
        ask(&mut authority, "a", &wanting(100), NOW);
        assert_eq!(ask(&mut authority, "a", &wanting(100), NOW).used, 10);
        assert_eq!(ask(&mut authority, "b", &wanting(100), NOW).used, 10 + 9, "it was the other spool's");
        ask(&mut authority, "", &wanting(100), NOW);
        assert_eq!(ask(&mut authority, "", &wanting(100), NOW).used, 10 + 9 + 8 + 7);
    }

    #[test]
    fn only_a_lease_that_is_not_wholly_spent_lets_hope_for_more() {
        let mut authority = authority();
        let lease = ask(&mut authority, "a", &wanting(1), NOW).lease.unwrap();
        assert!(ask(&mut authority, "b", &wanting(1), NOW).others_hold);
        tell(&mut authority, lease.id, 1, false);
        assert!(!ask(&mut authority, "b", &wanting(1), NOW).others_hold);
    }

    #[test]
    fn a_debt_is_counted_in_its_own_hour_even_beyond_the_limit() {
        let mut authority = authority();
        let debt = Some(Debt { hour: HourWindow::containing(NOW), requests: 7 });
        let answer = ask(&mut authority, "a", &LeaseRequest { debt, ..wanting(5) }, NOW);
        assert_eq!((answer.used, answer.lease), (7, None));
        let answer = ask(&mut authority, "a", &LeaseRequest { debt, ..wanting(5) }, NOW.plus(HOUR));
        assert_eq!(answer.used, 1);
        assert_eq!(spent(&authority), 14);
    }

    #[test]
    fn hours_before_the_last_one_are_forgotten() {
        let mut authority = authority();
        for hours in 0..5 {
            ask(&mut authority, "", &wanting(100), NOW.plus(HOUR * hours));
        }
        for table in ["api_key_hours", "api_key_leases"] {
            let sql = format!("SELECT count(*) FROM {table}");
            assert_eq!(authority.query_row(&sql, [], |row| row.get(0)), Ok(2), "{table}");
        }
    }

    #[tokio::test]
    async fn a_reset_starts_the_hour_anew_voids_its_leases_and_is_told_to_gateways() {
        let (_folder, store) = crate::store::sqlite::testing::Folder::migrated().await;
        let key_id = KeyId::from(KEY);
        let lease = store.lease(&key_id, Some("a"), wanting(100)).await.unwrap().lease.unwrap();
        let cursor = sqlite(store.clone()).change_cursor().await.unwrap();
        store.reset_hour(&key_id).await.unwrap();
        let report = LeaseReport { id: lease.id, spent: 3, finished: true };
        store.settle_leases(vec![report], vec![]).await.unwrap();
        assert_eq!(store.leases_of("a").await.unwrap(), []);
        assert_eq!(store.hour_usage(&key_id, clock::now()).await.unwrap(), 0);
        let log = sqlite(store).changes_since(cursor).await.unwrap();
        assert_eq!(log.changes, [Change::Limit(key_id)]);
    }
}
