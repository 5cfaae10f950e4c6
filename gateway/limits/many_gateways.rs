//! Several gateways on one store, killed and restarted at random, with requests on all of them at once.

use super::testing::{Gateway, admitted, within_one_hour};
use super::tests::on;
use super::*;
use crate::store::Store;
use crate::store::testing::Place;

#[tokio::test]
async fn on_one_sqlite_file_a_busy_one_gives_way_to_one_that_was_refused() {
    a_busy_one_gives_way_to_one_that_was_refused(Place::sqlite).await;
}

#[tokio::test]
async fn on_one_postgresql_a_busy_one_gives_way_to_one_that_was_refused() {
    a_busy_one_gives_way_to_one_that_was_refused(Place::postgres).await;
}

/// A lease of at most 100 is written down permit by permit, so that a killed gateway takes none with it.
const LIMIT: u64 = 400;

#[tokio::test]
async fn on_one_sqlite_file_they_admit_exactly_the_limit() {
    admit_exactly_the_limit(Place::sqlite).await;
}

#[tokio::test]
async fn on_one_postgresql_they_admit_exactly_the_limit() {
    admit_exactly_the_limit(Place::postgres).await;
}

async fn admit_exactly_the_limit(make: impl AsyncFn() -> (Place, Store)) {
    let seed = fastrand::u64(..);
    let (at_random, in_the_end, counted) = within_one_hour(async || {
        let (place, store) = make().await;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut gateways = Vec::new();
        for _ in 0..4 {
            gateways.push(Gateway::fresh(on(&place.store())).await);
        }
        let mut at_random = 0;
        for _ in 0..8 {
            at_random += all_at_once(&gateways).await;
            let ended = gateways.swap_remove(random.usize(..gateways.len()));
            let store = place.store();
            gateways.push(if random.bool() {
                ended.killed_and_back(on(&store)).await
            } else {
                ended.restarted(on(&store)).await
            });
        }
        let mut in_the_end = at_random;
        loop {
            for gateway in &gateways {
                gateway.limiter.round(Duration::ZERO).await;
                gateway.limiter.doubt_all();
            }
            match all_at_once(&gateways).await {
                0 => break,
                more => in_the_end += more,
            }
        }
        (at_random, in_the_end, store.hour_usage(&"key_1".into(), clock::now()).await.unwrap())
    })
    .await;
    assert!(at_random <= LIMIT, "{at_random} admitted, seed {seed}");
    assert_eq!((in_the_end, counted), (LIMIT, LIMIT), "seed {seed}");
}

async fn a_busy_one_gives_way_to_one_that_was_refused(make: impl AsyncFn() -> (Place, Store)) {
    let (told, held, then) = within_one_hour(async || {
        let (place, _) = make().await;
        let (busy, starved) = (Gateway::fresh(on(&place.store())).await, Gateway::fresh(on(&place.store())).await);
        // No rounds but the one below, in which nothing is idle.
        busy.end_tasks().await;
        busy.requests(LIMIT, 1).await;
        let verdicts = starved.parallel_requests(LIMIT, 2, 400).await;
        let told = verdicts.iter().find_map(|verdict| match verdict {
            Verdict::Spent { retry_after_secs, .. } => Some(*retry_after_secs),
            _ => None,
        });
        let held = || place.number("SELECT sum(granted) FROM api_key_leases");
        let before = held();
        busy.limiter.round(Duration::MAX).await;
        (told, before, held())
    })
    .await;
    assert_eq!((told, held, then), (Some(1), 4, 0), "seconds to wait, permits held and held after a round");
}

async fn all_at_once(gateways: &[Gateway]) -> u64 {
    let [a, b, c, d] = gateways else { panic!("there are four") };
    let some = |gateway| Gateway::parallel_requests(gateway, LIMIT, 1, 20);
    let (a, b, c, d) = tokio::join!(some(a), some(b), some(c), some(d));
    [a, b, c, d].iter().map(|verdicts| admitted(verdicts).len() as u64).sum()
}
