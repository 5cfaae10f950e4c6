//! Many leases told at once, and gateways that ask and tell at once.

use super::*;

hold_on_every_store! {
    many_told_at_once_are_all_settled,
    gateways_that_ask_and_tell_at_once_never_get_more_than_the_limit,
}

async fn many_told_at_once_are_all_settled(_place: Place, store: Store) {
    let facts = within_one_hour(async |key_id| {
        let keys: Vec<KeyId> = (0..50).map(|number| format!("{key_id}_{number}").into()).collect();
        let mut news = Vec::new();
        for key_id in &keys {
            let lease = ask(&store, key_id, "many", wanting(100)).await.lease.unwrap();
            let debt = Debt { hour: HourWindow::containing(clock::now()), requests: 3 };
            news.push((key_id.clone(), Report { lease: Some(end(&lease, 2)), debt: Some(debt) }));
        }
        assert_eq!(store.settle_leases("many", news).await.unwrap(), [false; 50]);
        let mut all = Vec::new();
        for key_id in &keys {
            all.push(spent(&store, key_id).await);
        }
        (all, store.leases_of("many").await.unwrap())
    })
    .await;
    assert_eq!(facts, (vec![5; 50], vec![]));
}

const LIMIT: u64 = 60;
const KEYS: usize = 5;

async fn gateways_that_ask_and_tell_at_once_never_get_more_than_the_limit(place: Place, store: Store) {
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
}

/// Takes all there is of several keys, which each gateway names in an order of its own; spends half of a lease and gives the rest
/// back. Returns what it spent.
async fn spend(store: &Store, keys: &[KeyId], gateway: usize) -> [u64; KEYS] {
    let mut spent = [0; KEYS];
    let order: Vec<usize> = (0..KEYS).map(|number| (number * (gateway + 1) + gateway) % KEYS).collect();
    let spool_id = format!("{}_{gateway}", keys[0]);
    loop {
        let (mut is_hopeful, mut news) = (false, Vec::new());
        for &key in &order {
            let answer = ask(store, &keys[key], &spool_id, wanting(LIMIT)).await;
            is_hopeful |= answer.lease.is_some() || answer.others_hold;
            if let Some(lease) = answer.lease {
                let used = lease.permits.div_ceil(2);
                spent[key] += used;
                news.push((keys[key].clone(), Report { lease: Some(end(&lease, used)), debt: None }));
            }
        }
        store.settle_leases(&spool_id, news).await.unwrap();
        if !is_hopeful {
            return spent;
        }
    }
}
