//! A real Redis that is killed, emptied or frozen under its limiters.

use super::*;
use crate::redis::PATIENCE;

async fn until(mut fact: impl AsyncFnMut() -> bool) {
    let bound = clock::monotonic() + Duration::from_secs(10);
    while !fact().await {
        assert!(clock::monotonic() < bound, "it did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Redis is found well by the gateway's rounds.
async fn found(gateway: &Gateway) {
    until(async || {
        gateway.limiter.round(Duration::MAX).await;
        !gateway.limiter.is_away.load(Ordering::Relaxed)
    })
    .await;
}

#[tokio::test]
async fn what_redis_forgot_is_told_again_before_more_is_taken() {
    let server = Server::start();
    let (idle, busy, after) = within_one_hour(async || {
        let place = Place::on(&server).await;
        let (idle, busy) = (place.gateway().await, place.gateway().await);
        let idle_spent = admitted(&idle.requests(1000, 400).await).len();
        let busy_spent = admitted(&busy.requests(1000, 300).await).len();
        idle.limiter.round(Duration::ZERO).await;
        server.kill();
        server.restart();
        found(&idle).await;
        found(&busy).await;
        (idle_spent, busy_spent, admitted(&busy.requests(1000, 1000).await).len())
    })
    .await;
    assert_eq!((idle, busy, after), (400, 300, 300));
}

#[tokio::test]
async fn a_redis_emptied_by_hand_is_noticed() {
    let server = Server::start();
    let (after, used) = within_one_hour(async || {
        let place = Place::on(&server).await;
        let (idle, busy) = (place.gateway().await, place.gateway().await);
        idle.requests(1000, 400).await;
        busy.requests(1000, 1).await;
        idle.limiter.round(Duration::ZERO).await;
        busy.limiter.round(Duration::ZERO).await;
        server.cli(&["flushall"]);
        idle.limiter.round(Duration::ZERO).await;
        busy.limiter.round(Duration::ZERO).await;
        (admitted(&busy.requests(1000, 1000).await).len(), place.usage().await)
    })
    .await;
    assert_eq!((after, used), (599, 1000));
}

#[tokio::test]
async fn a_frozen_redis_costs_one_short_wait_and_gateways_share_what_is_left_until_it_is_back() {
    let server = Server::start();
    let (waited, shares, used, odd) = within_one_hour(async || {
        let place = Place::on(&server).await;
        let gateways = [place.gateway_with(OnAuthorityFailure::Local).await, place.gateway_with(OnAuthorityFailure::Local).await];
        // As the records of the key do.
        let _kept = gateways.each_ref().map(|gateway| gateway.limiter.cell(&KEY.into()));
        for requests in [10, 1] {
            for gateway in &gateways {
                gateway.requests(100, requests).await;
            }
        }
        for gateway in &gateways {
            gateway.limiter.round(Duration::ZERO).await;
        }
        server.freeze();
        let (mut shares, mut waited) = (Vec::new(), Duration::ZERO);
        for gateway in &gateways {
            let asked_at = clock::monotonic();
            shares.push(admitted(&gateway.requests(100, 100).await).len() as u64);
            waited = waited.max(clock::monotonic() - asked_at);
        }
        server.thaw();
        for gateway in &gateways {
            found(gateway).await;
            gateway.limiter.round(Duration::ZERO).await;
        }
        let odd = u64::from(gateways[0].spool.path() < gateways[1].spool.path());
        (waited, shares, place.usage().await, odd)
    })
    .await;
    assert!(waited < 3 * PATIENCE, "{waited:?}");
    // The first had last heard of 21, and has the half that is left over if its name comes first.
    assert_eq!(shares, [(100 - 21) / 2 + odd, (100 - 22) / 2]);
    assert_eq!(used, 22 + 39 + odd + 39);
}
