//! The hours' counts where the store is the authority over them.
//!
//! The hour is the store's own. What is found out has to be of one hour, else it is found out again, of another key.

use crate::clock;
use crate::model::ids::KeyId;
use crate::model::lease::{Debt, LeaseAnswer, LeaseId, LeaseReport, LeaseRequest};
use crate::model::quota::HourWindow;
use crate::store::testing::{Place, hold_on_every_store};
use crate::store::{Change, ChangeFeed, Store};

hold_on_every_store!(
    leases_become_smaller_as_less_is_left_until_nothing_is,
    what_is_on_lease_is_counted_and_shown_only_as_far_as_it_was_spent,
    a_lease_whose_answer_was_lost_goes_back_with_the_next_question_unless_it_has_no_name,
    a_lease_told_with_the_next_question_goes_back_as_far_as_it_was_not_spent,
    only_a_lease_that_is_not_wholly_spent_lets_hope_for_more,
    a_debt_is_counted_in_its_own_hour_even_beyond_the_limit,
    hours_before_the_last_one_are_forgotten,
    a_reset_starts_the_hour_anew_voids_its_leases_and_is_told_to_gateways,
    many_told_at_once_are_all_settled,
    gateways_that_ask_and_tell_at_once_never_get_more_than_the_limit,
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
    LeaseRequest { limit, wanted: limit, ended: None, debt: None }
}

async fn ask(store: &Store, key_id: &KeyId, spool_id: &str, request: LeaseRequest) -> LeaseAnswer {
    store.lease(key_id, Some(spool_id).filter(|id| !id.is_empty()), request).await.unwrap()
}

async fn tell(store: &Store, id: LeaseId, spent: u64, finished: bool) {
    store.settle_leases(vec![LeaseReport { id, spent, finished }], vec![]).await.unwrap();
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
        while let Some(lease) = ask(&store, &key_id, "", wanting(100)).await.lease {
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
        tell(&store, lease.id, 4, false).await;
        // An older report changes nothing.
        tell(&store, lease.id, 3, false).await;
        let told = spent(&store, &key_id).await;
        // Nor does one that is told twice.
        tell(&store, lease.id, 5, true).await;
        tell(&store, lease.id, 5, true).await;
        (on_lease, told, spent(&store, &key_id).await, ask(&store, &key_id, "a", wanting(100)).await.used)
    })
    .await;
    assert_eq!(facts, (0, 4, 5, 5 + 9));
}

async fn a_lease_whose_answer_was_lost_goes_back_with_the_next_question_unless_it_has_no_name(_place: Place, store: Store) {
    let used = within_one_hour(async |key_id| {
        let mut used = Vec::new();
        for spool_id in ["a", "a", "b", "", ""] {
            used.push(ask(&store, &key_id, spool_id, wanting(100)).await.used);
        }
        used
    })
    .await;
    assert_eq!(used, [10, 10, 10 + 9, 10 + 9 + 8, 10 + 9 + 8 + 7]);
}

async fn a_lease_told_with_the_next_question_goes_back_as_far_as_it_was_not_spent(_place: Place, store: Store) {
    let used = within_one_hour(async |key_id| {
        let first = ask(&store, &key_id, "a", wanting(100)).await.lease.unwrap();
        let ended = Some(LeaseReport { id: first.id, spent: 4, finished: true });
        ask(&store, &key_id, "a", LeaseRequest { ended, ..wanting(100) }).await.used
    })
    .await;
    assert_eq!(used, 4 + 9);
}

async fn only_a_lease_that_is_not_wholly_spent_lets_hope_for_more(_place: Place, store: Store) {
    let hope = within_one_hour(async |key_id| {
        let lease = ask(&store, &key_id, "a", wanting(1)).await.lease.unwrap();
        let before = ask(&store, &key_id, "b", wanting(1)).await.others_hold;
        tell(&store, lease.id, 1, false).await;
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
        let earlier = HourWindow::from_number(HourWindow::containing(clock::now()).number() - 1);
        let debt = Some(Debt { hour: earlier, requests: 7 });
        let second = ask(&store, &key_id, "a", LeaseRequest { debt, ..wanting(5) }).await;
        store.settle_leases(vec![], vec![(key_id.clone(), Debt { hour: earlier, requests: 2 })]).await.unwrap();
        let before = clock::now().minus(std::time::Duration::from_hours(1));
        (first.used, first.lease, second.used, store.hour_usage(&key_id, before).await.unwrap())
    })
    .await;
    assert_eq!(facts, (7, None, 1, 16));
}

async fn hours_before_the_last_one_are_forgotten(place: Place, store: Store) {
    within_one_hour(async |key_id| {
        for _ in 0..5 {
            let_an_hour_pass(&place);
            ask(&store, &key_id, "", wanting(100)).await;
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
        tell(&store, lease.id, 3, true).await;
        (store.leases_of("a").await.unwrap(), spent(&store, &key_id).await)
    })
    .await;
    assert_eq!(facts, (vec![], 0));
}

async fn many_told_at_once_are_all_settled(_place: Place, store: Store) {
    let facts = within_one_hour(async |key_id| {
        let keys: Vec<KeyId> = (0..50).map(|number| format!("{key_id}_{number}").into()).collect();
        let (mut reports, mut debts) = (Vec::new(), Vec::new());
        for key_id in &keys {
            let lease = ask(&store, key_id, "many", wanting(100)).await.lease.unwrap();
            reports.push(LeaseReport { id: lease.id, spent: 2, finished: true });
            debts.push((key_id.clone(), Debt { hour: HourWindow::containing(clock::now()), requests: 3 }));
        }
        store.settle_leases(reports, debts).await.unwrap();
        let mut all = Vec::new();
        for key_id in &keys {
            all.push(spent(&store, key_id).await);
        }
        (all, store.leases_of("many").await.unwrap())
    })
    .await;
    assert_eq!(facts, (vec![5; 50], vec![]));
}

/// Each gateway spends half of what it gets and gives the rest back, of several keys, which it names in an order of its own.
async fn gateways_that_ask_and_tell_at_once_never_get_more_than_the_limit(place: Place, store: Store) {
    const LIMIT: u64 = 60;
    const KEYS: usize = 5;
    let (spent_by_all, counted) = within_one_hour(async |key_id| {
        let keys: Vec<KeyId> = (0..KEYS).map(|number| format!("{key_id}_{number}").into()).collect();
        let gateways = [place.store(), place.store(), place.store(), place.store()];
        let work = |number: usize| spend(&gateways[number], &keys, number);
        let (a, b, c, d) = tokio::join!(work(0), work(1), work(2), work(3));
        let mut counted = Vec::new();
        for key_id in &keys {
            counted.push(spent(&store, key_id).await);
        }
        let sum = |key: usize| a[key] + b[key] + c[key] + d[key];
        ((0..KEYS).map(sum).collect::<Vec<u64>>(), counted)
    })
    .await;
    assert_eq!(spent_by_all, vec![LIMIT; KEYS], "to the last permit, and no more");
    assert_eq!(counted, spent_by_all);

    async fn spend(store: &Store, keys: &[KeyId], gateway: usize) -> [u64; KEYS] {
        let mut spent = [0; KEYS];
        let order: Vec<usize> = (0..KEYS).map(|number| (number * (gateway + 1) + gateway) % KEYS).collect();
        let spool_id = format!("{}_{gateway}", keys[0]);
        loop {
            let (mut is_hopeful, mut reports) = (false, Vec::new());
            for &key in &order {
                let answer = ask(store, &keys[key], &spool_id, wanting(LIMIT)).await;
                is_hopeful |= answer.lease.is_some() || answer.others_hold;
                if let Some(lease) = answer.lease {
                    let used = lease.permits.div_ceil(2);
                    spent[key] += used;
                    reports.push(LeaseReport { id: lease.id, spent: used, finished: true });
                }
            }
            store.settle_leases(reports, vec![]).await.unwrap();
            if !is_hopeful {
                return spent;
            }
        }
    }
}
