//! Limiters on a real Redis.

mod kills;
mod outages;
mod questions;

use std::time::Duration;

use super::*;
use crate::config::{self, OnAuthorityFailure};
use crate::drain::Tasks;
use crate::limits::testing::{Gateway, KEY, admitted, within_one_hour};
use crate::limits::{Authority, Verdict};
use crate::redis::testing::{SHARED, Server, fresh_prefix};
use crate::store::sqlite::testing::Folder;

/// The gateways of a test: a Redis under a prefix of their own, and the store that tells them of resets.
struct Place {
    config: config::Redis,
    _folder: Folder,
    store: crate::store::Store,
}

impl Place {
    async fn on(server: &Server) -> Self {
        let (folder, store) = Folder::migrated().await;
        Self { config: config::Redis::at(&server.url(), &fresh_prefix()), _folder: folder, store }
    }

    async fn authority(&self) -> Authority {
        Authority::new(self.store.clone(), Some(self.redis().await))
    }

    async fn redis(&self) -> Arc<Redis> {
        Redis::connect(&self.config, &Arc::default(), &Tasks::new()).await
    }

    async fn gateway(&self) -> Gateway {
        Gateway::fresh(self.authority().await).await
    }

    async fn gateway_with(&self, policy: OnAuthorityFailure) -> Gateway {
        Gateway::start(self.authority().await, policy, &Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn usage(&self) -> u64 {
        self.authority().await.hour_usage(&KEY.into()).await.unwrap().1
    }
}

#[tokio::test]
async fn of_parallel_requests_exactly_the_limit_is_admitted() {
    let (counted, used) = within_one_hour(async || {
        let place = Place::on(&SHARED).await;
        let gateway = place.gateway().await;
        let counted = admitted(&gateway.parallel_requests(250, 2, 200).await).len();
        gateway.limiter.round(Duration::ZERO).await;
        (counted, place.usage().await)
    })
    .await;
    assert_eq!((counted, used), (250, 250));
}

#[tokio::test]
async fn a_large_limit_asks_redis_for_few_of_its_requests() {
    let server = Server::start();
    let place = Place::on(&server).await;
    let gateway = place.gateway().await;
    let before = server.calls("eval");
    assert_eq!(admitted(&gateway.requests(1_000_000, 5000).await).len(), 5000);
    let asked = server.calls("eval") - before;
    assert!(asked * 50 < 5000, "{asked} questions");
}

#[tokio::test]
async fn while_another_gateway_holds_the_last_permits_it_is_asked_for_them_and_a_client_told_to_come_back_in_a_second() {
    let (told, later) = within_one_hour(async || {
        let place = Place::on(&SHARED).await;
        let (busy, starved) = (place.gateway().await, place.gateway().await);
        // Three permits at a time for the busy one, and it never stops.
        busy.requests(300, 1).await;
        let verdicts = starved.requests(300, 300).await;
        let told = verdicts.iter().find_map(|verdict| match verdict {
            Verdict::Spent { retry_after_secs, .. } => Some(*retry_after_secs),
            _ => None,
        });
        let admitted_before = admitted(&verdicts).len();
        busy.limiter.round(Duration::MAX).await;
        let mut later = 0;
        let bound = clock::monotonic() + Duration::from_secs(10);
        while later == 0 && clock::monotonic() < bound {
            tokio::time::sleep(Duration::from_millis(10)).await;
            later = admitted(&starved.requests(300, 1).await).len();
        }
        (told, admitted_before + later)
    })
    .await;
    assert_eq!(told, Some(1));
    assert_eq!(later, 298, "all but what the busy one spent, and holds no more");
}

#[tokio::test]
async fn a_reset_admits_again_and_what_was_counted_before_is_not_told_again() {
    let server = Server::start();
    let used = within_one_hour(async || {
        let place = Place::on(&server).await;
        let gateway = place.gateway().await;
        assert_eq!(admitted(&gateway.requests(2, 3).await).len(), 2);
        place.authority().await.reset_hour(&KEY.into(), &place.store).await.unwrap();
        gateway.limiter.reset(&KEY.into());
        assert_eq!(admitted(&gateway.requests(2, 3).await).len(), 2);
        gateway.limiter.round(Duration::ZERO).await;
        place.usage().await
    })
    .await;
    assert_eq!(used, 2);
}
