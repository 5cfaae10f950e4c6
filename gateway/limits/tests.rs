//! Limiters on a real store, with requests from several threads.

use super::testing::{Gateway, KEY, admitted, within_one_hour};
use super::*;
use crate::model::quota::HourWindow;
use crate::store::Store;
use crate::store::sqlite::testing::Folder;

pub(super) fn on(store: &Store) -> Authority {
    Authority::new(store.clone(), None)
}

async fn usage(store: &Store) -> u64 {
    store.hour_usage(&KEY.into(), clock::now()).await.unwrap()
}

/// From here on leases are counted.
fn count_leases(folder: &Folder) {
    let sql = "CREATE TABLE made (lease INTEGER);
               CREATE TRIGGER counted AFTER INSERT ON api_key_leases BEGIN INSERT INTO made VALUES (NEW.lease_id); END";
    folder.shell().execute_batch(sql).unwrap();
}

fn leases_made(folder: &Folder) -> u64 {
    folder.shell().query_row("SELECT count(*) FROM made", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn of_parallel_requests_exactly_the_limit_is_admitted_and_remaining_counts_them() {
    let (mut remaining, refused) = within_one_hour(async || {
        let (_folder, store) = Folder::migrated().await;
        let gateway = Gateway::fresh(on(&store)).await;
        let verdicts = gateway.parallel_requests(250, 4, 100).await;
        let remaining: Vec<u64> = admitted(&verdicts).iter().map(|quota| quota.remaining).collect();
        let refused = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Spent { quota, .. } if quota.remaining == 0));
        (remaining, refused.count())
    })
    .await;
    remaining.sort_unstable();
    assert_eq!(remaining, (0..250).collect::<Vec<_>>());
    assert_eq!(refused, 150);
}

#[tokio::test]
async fn a_restart_does_not_give_the_hour_away_and_strands_nothing() {
    let (before, between, after) = within_one_hour(async || {
        let (_folder, store) = Folder::migrated().await;
        let gateway = Gateway::fresh(on(&store)).await;
        let before = admitted(&gateway.requests(1000, 33).await).len();
        let gateway = gateway.restarted(on(&store)).await;
        let between = usage(&store).await;
        (before, between, admitted(&gateway.parallel_requests(1000, 2, 600).await).len())
    })
    .await;
    assert_eq!((before, between, after), (33, 33, 967));
}

#[tokio::test]
async fn a_killed_gateway_settles_its_leases_when_it_comes_back() {
    let (held, settled, after) = within_one_hour(async || {
        let (folder, store) = Folder::migrated().await;
        let gateway = Gateway::fresh(on(&store)).await;
        gateway.requests(2000, 5).await;
        let held = folder.shell().query_row("SELECT used FROM api_key_hours", [], |row| row.get(0));
        let gateway = gateway.killed_and_back(on(&store)).await;
        let settled = usage(&store).await;
        (held, settled, admitted(&gateway.parallel_requests(2000, 2, 1200).await).len())
    })
    .await;
    assert_eq!((held, settled, after), (Ok(20), 5, 1995));
}

#[tokio::test]
async fn two_gateways_on_one_database_admit_the_limit_together_and_no_more() {
    let (at_once, in_the_end, retry_after) = within_one_hour(async || {
        let (_folder, store) = Folder::migrated().await;
        let (one, other) = (Gateway::fresh(on(&store)).await, Gateway::fresh(on(&store)).await);
        let (first, second) = tokio::join!(one.parallel_requests(500, 2, 200), other.parallel_requests(500, 2, 200));
        let at_once = admitted(&first).len() + admitted(&second).len();
        // One of them may hold the rest of its last lease, and gives it back when it is idle.
        one.limiter.round(Duration::ZERO).await;
        other.limiter.round(Duration::ZERO).await;
        one.limiter.doubt_all();
        let rest = one.requests(500, 20).await;
        let retry_after = if let Some(Verdict::Spent { retry_after_secs, .. }) = rest.last() { *retry_after_secs } else { 0 };
        let to_the_hour = HourWindow::containing(clock::now()).end().since(clock::now());
        (at_once, at_once + admitted(&rest).len(), retry_after.abs_diff(to_the_hour.as_secs()))
    })
    .await;
    assert!(at_once <= 500);
    assert_eq!(in_the_end, 500);
    assert!(retry_after <= 1, "{retry_after} s beside the full hour");
}

#[tokio::test]
async fn while_another_gateway_holds_the_last_permits_a_client_is_told_to_come_back_in_a_second() {
    let refused = within_one_hour(async || {
        let (_folder, store) = Folder::migrated().await;
        let (one, other) = (Gateway::fresh(on(&store)).await, Gateway::fresh(on(&store)).await);
        one.requests(200, 1).await;
        let verdicts = other.requests(200, 200).await;
        verdicts.iter().find_map(|verdict| match verdict {
            Verdict::Spent { retry_after_secs, .. } => Some(*retry_after_secs),
            _ => None,
        })
    })
    .await;
    assert_eq!(refused, Some(1));
}

#[tokio::test]
async fn what_was_spent_shows_after_a_round_and_what_is_idle_is_given_back() {
    let (folder, store) = Folder::migrated().await;
    let gateway = Gateway::fresh(on(&store)).await;
    gateway.requests(1_000_000, 7).await;
    gateway.limiter.round(Duration::MAX).await;
    assert_eq!(usage(&store).await, 7);
    gateway.limiter.round(Duration::ZERO).await;
    let held = folder.shell().query_row("SELECT sum(granted) FROM api_key_leases", [], |row| row.get(0));
    assert_eq!(held, Ok(0));
    assert!(gateway.limiter.active().is_empty());
}

#[tokio::test]
async fn a_large_limit_asks_the_store_for_few_of_its_requests() {
    let (folder, store) = Folder::migrated().await;
    count_leases(&folder);
    let gateway = Gateway::fresh(on(&store)).await;
    assert_eq!(admitted(&gateway.requests(1_000_000, 5000).await).len(), 5000);
    assert!(leases_made(&folder) * 50 < 5000, "{} leases", leases_made(&folder));
}

#[tokio::test]
async fn a_request_that_goes_away_does_not_take_the_lease_with_it() {
    let (folder, store) = Folder::migrated().await;
    count_leases(&folder);
    let gateway = Gateway::fresh(on(&store)).await;
    let cell = gateway.limiter.cell(&KEY.into());
    let mut left = Box::pin(gateway.limiter.take(&cell, 1000));
    assert!(tokio::select! { biased; _ = &mut left => false, () = std::future::ready(()) => true });
    drop(left);
    assert_eq!(admitted(&gateway.requests(1000, 10).await).len(), 10);
    assert_eq!(leases_made(&folder), 1);
}

#[tokio::test]
async fn a_reset_admits_again_at_once() {
    let (_folder, store) = Folder::migrated().await;
    let gateway = Gateway::fresh(on(&store)).await;
    assert!(matches!(gateway.requests(1, 2).await[..], [Verdict::Admitted(_), Verdict::Spent { .. }]));
    store.reset_hour(&KEY.into()).await.unwrap();
    gateway.limiter.reset(&KEY.into());
    assert!(matches!(gateway.requests(1, 2).await[..], [Verdict::Admitted(_), Verdict::Spent { .. }]));
}

#[tokio::test]
async fn a_changed_limit_binds_from_the_next_request_on() {
    let counts = within_one_hour(async || {
        let (_folder, store) = Folder::migrated().await;
        let gateway = Gateway::fresh(on(&store)).await;
        let mut counts = Vec::new();
        for limit in [1000, 40, 60, 10, 1000] {
            counts.push(admitted(&gateway.requests(limit, 35).await).len());
        }
        counts
    })
    .await;
    assert_eq!(counts, [35, 5, 20, 0, 35]);
}

#[tokio::test]
async fn a_frozen_store_holds_up_one_question_and_what_was_admitted_without_it_is_told_later() {
    let (folder, store) = Folder::migrated().await;
    let gateway = Gateway::start(on(&store), OnAuthorityFailure::Local, &Arc::new(tempfile::tempdir().unwrap())).await;
    let shell = folder.shell();
    shell.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let asked_at = clock::monotonic();
    let verdicts = gateway.requests(100, 120).await;
    assert!(clock::monotonic() - asked_at < 5 * PATIENCE);
    assert_eq!(admitted(&verdicts).len(), 100, "counted here from the full limit");
    shell.execute_batch("ROLLBACK").unwrap();
    for _ in 0..100 {
        gateway.limiter.round(Duration::MAX).await;
    }
    assert!(!gateway.limiter.is_away.load(Ordering::Relaxed));
    assert_eq!(usage(&store).await, 100);
}

#[tokio::test]
async fn a_store_that_is_away_refuses_or_admits_as_the_configuration_says_and_is_asked_again_later() {
    for (policy, away, back) in [(OnAuthorityFailure::Reject, 0, 3), (OnAuthorityFailure::Allow, 9, 0)] {
        let folder = Folder::new();
        let store = folder.store();
        let gateway = Gateway::start(on(&store), policy, &Arc::new(tempfile::tempdir().unwrap())).await;
        let verdicts = gateway.requests(3, 9).await;
        assert_eq!(admitted(&verdicts).len(), away);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Unavailable).count(), 9 - away);
        drop(std::fs::File::create(folder.file()).unwrap());
        store.ensure_migrated().await.unwrap();
        gateway.limiter.round(Duration::MAX).await;
        assert_eq!(admitted(&gateway.requests(3, 9).await).len(), back, "{policy:?}");
    }
}

#[tokio::test]
async fn rounds_go_on_by_themselves_until_the_tasks_stop() {
    let (_folder, store) = Folder::migrated().await;
    let gateway = Gateway::fresh(on(&store)).await;
    gateway.requests(1000, 7).await;
    let bound = clock::monotonic() + Duration::from_secs(10);
    while usage(&store).await != 7 {
        assert!(clock::monotonic() < bound);
    }
    gateway.end_tasks().await;
}
