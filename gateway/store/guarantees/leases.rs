//! The hours' counts where the store is the authority over them.
//!
//! The hour is the store's own. What is found out has to be of one hour, else it is found out again, of another key.

mod at_once;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;
use crate::model::ids::KeyId;
use crate::model::lease::{Debt, Grant, LeaseAnswer, LeaseId, LeaseReply, LeaseReport, LeaseRequest, Report};
use crate::model::quota::HourWindow;
use crate::store::testing::{Place, hold_on_every_store};
use crate::store::{Change, ChangeFeed, Store};

hold_on_every_store!(
    leases_become_smaller_as_less_is_left_until_nothing_is,
    what_is_on_lease_is_counted_and_shown_only_as_far_as_it_was_spent,
    a_lease_whose_answer_was_lost_goes_back_with_the_next_question_unless_it_may_have_been_spent,
    a_question_that_wants_nothing_takes_back_what_no_answer_told_of,
    a_question_that_comes_late_takes_nothing_and_gets_nothing,
    a_holder_hears_that_another_gateway_was_refused_and_that_its_lease_is_void,
    a_lease_told_with_the_next_question_goes_back_as_far_as_it_was_not_spent,
    only_a_lease_that_is_not_wholly_spent_lets_hope_for_more,
    a_debt_is_counted_in_its_own_hour_even_beyond_the_limit,
    hours_before_the_last_one_are_forgotten,
    a_reset_starts_the_hour_anew_voids_its_leases_and_is_told_to_gateways,
);

async fn within_one_hour<T>(find_out: impl AsyncFn(KeyId) -> T) -> T {
    loop {
        let hour = HourWindow::containing(clock::now());
        let facts = find_out(KeyId::random()).await;
        if HourWindow::containing(clock::now()) == hour {
            return facts;
        }
    }
}

fn wanting(limit: u64) -> LeaseRequest {
    LeaseRequest { limit, wanted: limit, is_spooled: true, ended: None, debt: None }
}

/// Numbers of questions, each above all before.
static LAST_ASKED: AtomicU64 = AtomicU64::new(0);

fn next_id() -> LeaseId {
    LeaseId::from_number(LAST_ASKED.fetch_add(1, Ordering::Relaxed) + 1)
}

async fn ask(store: &Store, key_id: &KeyId, spool_id: &str, request: LeaseRequest) -> LeaseAnswer {
    match store.lease(key_id, spool_id, next_id(), request).await.unwrap() {
        LeaseReply::Decided(answer) => answer,
        LeaseReply::Late(last) => panic!("{last:?} was asked later"),
    }
}

fn end(lease: &Grant, spent: u64) -> LeaseReport {
    LeaseReport { id: lease.id, spent, finished: true }
}

fn still(lease: &Grant, spent: u64) -> LeaseReport {
    LeaseReport { id: lease.id, spent, finished: false }
}

/// Returns whether the lease is wanted back.
async fn tell(store: &Store, key_id: &KeyId, spool_id: &str, lease: LeaseReport) -> bool {
    let news = vec![(key_id.clone(), Report { lease: Some(lease), debt: None })];
    store.settle_leases(spool_id, news).await.unwrap()[0]
}

async fn spent(store: &Store, key_id: &KeyId) -> u64 {
    store.hour_usage(key_id, clock::now()).await.unwrap()
}

/// What stood in this hour stands in the one before.
fn let_an_hour_pass(place: &Place) {
    for table in ["api_key_hours", "api_key_leases"] {
        place.sql(&format!("UPDATE {table} SET hour = -hour; UPDATE {table} SET hour = -hour - 1"));
    }
}

async fn leases_become_smaller_as_less_is_left_until_nothing_is(_place: Place, store: Store) {
    let granted = within_one_hour(async |key_id| {
        let mut granted = Vec::new();
        while let Some(lease) = ask(&store, &key_id, &granted.len().to_string(), wanting(100)).await.lease {
            granted.push(lease.permits);
        }
        granted
    })
    .await;
    assert_eq!(granted[..4], [10, 9, 8, 7]);
    assert_eq!(granted.last(), Some(&1));
    assert_eq!(granted.iter().sum::<u64>(), 100);
}

async fn what_is_on_lease_is_counted_and_shown_only_as_far_as_it_was_spent(_place: Place, store: Store) {
    let facts = within_one_hour(async |key_id| {
        let lease = ask(&store, &key_id, "a", wanting(100)).await.lease.unwrap();
        let on_lease = spent(&store, &key_id).await;
        tell(&store, &key_id, "a", still(&lease, 4)).await;
        // An older report changes nothing.
        tell(&store, &key_id, "a", still(&lease, 3)).await;
        let told = spent(&store, &key_id).await;
        // Nor does one that is told twice.
        tell(&store, &key_id, "a", end(&lease, 5)).await;
        tell(&store, &key_id, "a", end(&lease, 5)).await;
        (on_lease, told, spent(&store, &key_id).await, ask(&store, &key_id, "a", wanting(100)).await.used)
    })
    .await;
    assert_eq!(facts, (0, 4, 5, 5 + 9));
}

async fn a_lease_whose_answer_was_lost_goes_back_with_the_next_question_unless_it_may_have_been_spent(
    _place: Place,
    store: Store,
) {
    let used = within_one_hour(async |key_id| {
        let mut used = Vec::new();
        for (spool_id, is_spooled) in [("a", true), ("a", true), ("b", false), ("b", false), ("b", true), ("b", true)] {
            used.push(ask(&store, &key_id, spool_id, LeaseRequest { is_spooled, ..wanting(100) }).await.used);
        }
        used
    })
    .await;
    assert_eq!(used, [10, 10, 10 + 9, 10 + 9 + 8, 10 + 9 + 8 + 7, 10 + 9 + 8 + 7]);
}

async fn a_question_that_wants_nothing_takes_back_what_no_answer_told_of(_place: Place, store: Store) {
    let facts = within_one_hour(async |key_id| {
        ask(&store, &key_id, "a", wanting(100)).await;
        let answer = ask(&store, &key_id, "a", LeaseRequest { wanted: 0, ..wanting(100) }).await;
        (answer.used, answer.lease, answer.others_hold, store.leases_of("a").await.unwrap().len())
    })
    .await;
    assert_eq!(facts, (0, None, false, 0));
}

async fn a_question_that_comes_late_takes_nothing_and_gets_nothing(_place: Place, store: Store) {
    let facts = within_one_hour(async |key_id| {
        let late = next_id();
        let lease = ask(&store, &key_id, "a", wanting(100)).await.lease.unwrap();
        let in_use = store.lease(&key_id, "a", late, wanting(100)).await.unwrap();
        assert_eq!(in_use, LeaseReply::Late(lease.id));
        // Nor does the same one twice.
        let again = store.lease(&key_id, "a", lease.id, wanting(100)).await.unwrap();
        let held = store.leases_of("a").await.unwrap();
        tell(&store, &key_id, "a", end(&lease, 1)).await;
        let over = store.lease(&key_id, "a", late, wanting(100)).await.unwrap();
        let of_another = store.lease(&key_id, "b", late, wanting(100)).await.unwrap();
        assert_eq!((again, over), (in_use, in_use));
        assert!(matches!(of_another, LeaseReply::Decided(_)), "numbers are each gateway's own");
        (held == [(key_id.clone(), lease)], spent(&store, &key_id).await)
    })
    .await;
    assert_eq!(facts, (true, 1));
}

async fn a_holder_hears_that_another_gateway_was_refused_and_that_its_lease_is_void(_place: Place, store: Store) {
    let facts = within_one_hour(async |key_id| {
        let lease = ask(&store, &key_id, "a", wanting(10)).await.lease.unwrap();
        let mut holder = vec![tell(&store, &key_id, "a", still(&lease, 0)).await];
        while let Some(lease) = ask(&store, &key_id, "b", wanting(10)).await.lease {
            tell(&store, &key_id, "b", end(&lease, lease.permits)).await;
        }
        holder.push(tell(&store, &key_id, "a", still(&lease, 0)).await);
        holder.push(tell(&store, &key_id, "a", end(&lease, 0)).await);
        holder.push(tell(&store, &key_id, "a", still(&lease, 1)).await);
        (holder, ask(&store, &key_id, "b", wanting(10)).await.lease.map(|lease| lease.permits))
    })
    .await;
    assert_eq!(facts, (vec![false, true, false, true], Some(1)));
}

async fn a_lease_told_with_the_next_question_goes_back_as_far_as_it_was_not_spent(_place: Place, store: Store) {
    let used = within_one_hour(async |key_id| {
        let first = ask(&store, &key_id, "a", wanting(100)).await.lease.unwrap();
        let ended = Some(end(&first, 4));
        ask(&store, &key_id, "a", LeaseRequest { ended, ..wanting(100) }).await.used
    })
    .await;
    assert_eq!(used, 4 + 9);
}

async fn only_a_lease_that_is_not_wholly_spent_lets_hope_for_more(_place: Place, store: Store) {
    let hope = within_one_hour(async |key_id| {
        let lease = ask(&store, &key_id, "a", wanting(1)).await.lease.unwrap();
        let before = ask(&store, &key_id, "b", wanting(1)).await.others_hold;
        tell(&store, &key_id, "a", still(&lease, 1)).await;
        (before, ask(&store, &key_id, "b", wanting(1)).await.others_hold)
    })
    .await;
    assert_eq!(hope, (true, false));
}

async fn a_debt_is_counted_in_its_own_hour_even_beyond_the_limit(place: Place, store: Store) {
    let facts = within_one_hour(async |key_id| {
        let debt = Some(Debt { hour: HourWindow::containing(clock::now()), requests: 7 });
        let first = ask(&store, &key_id, "a", LeaseRequest { debt, ..wanting(5) }).await;
        let_an_hour_pass(&place);
        let earlier = HourWindow::containing(clock::now().minus(Duration::from_hours(1)));
        let debt = Some(Debt { hour: earlier, requests: 7 });
        let second = ask(&store, &key_id, "a", LeaseRequest { debt, ..wanting(5) }).await;
        let debt = Some(Debt { hour: earlier, requests: 2 });
        store.settle_leases("a", vec![(key_id.clone(), Report { lease: None, debt })]).await.unwrap();
        let before = clock::now().minus(Duration::from_hours(1));
        (first.used, first.lease, second.used, store.hour_usage(&key_id, before).await.unwrap())
    })
    .await;
    assert_eq!(facts, (7, None, 1, 16));
}

async fn hours_before_the_last_one_are_forgotten(place: Place, store: Store) {
    within_one_hour(async |key_id| {
        for gateway in ["a", "b", "c", "d", "e"] {
            let_an_hour_pass(&place);
            ask(&store, &key_id, gateway, wanting(100)).await;
        }
        let rows = |table| place.number(&format!("SELECT count(*) FROM {table} WHERE key_id = '{key_id}'"));
        assert_eq!(["api_key_hours", "api_key_leases"].map(rows), [2, 2]);
    })
    .await;
}

async fn a_reset_starts_the_hour_anew_voids_its_leases_and_is_told_to_gateways(_place: Place, store: Store) {
    let mut feed = ChangeFeed::new(&store, "gateway");
    assert_eq!(feed.next().await.unwrap().changes, [Change::Anything]);
    feed.applied().await.unwrap();
    let key_id = KeyId::from("a key");
    store.reset_hour(&key_id).await.unwrap();
    while feed.next().await.unwrap().changes != [Change::Limit(key_id.clone())] {}

    let facts = within_one_hour(async |key_id| {
        let lease = ask(&store, &key_id, "a", wanting(100)).await.lease.unwrap();
        store.reset_hour(&key_id).await.unwrap();
        tell(&store, &key_id, "a", end(&lease, 3)).await;
        (store.leases_of("a").await.unwrap(), spent(&store, &key_id).await)
    })
    .await;
    assert_eq!(facts, (vec![], 0));
}
