//! Limiters on a real Redis.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::config::{self, OnAuthorityFailure};
use crate::drain::Tasks;
use crate::limits::testing::{Gateway, KEY, admitted, within_one_hour};
use crate::limits::{Authority, Verdict};
use crate::model::lease::Debt;
use crate::redis::PATIENCE;
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
async fn a_killed_gateway_settles_its_leases_when_it_comes_back() {
    let (spent, after) = within_one_hour(async || {
        let place = Place::on(&SHARED).await;
        let gateway = place.gateway().await;
        gateway.requests(2000, 5).await;
        let gateway = gateway.killed_and_back(place.authority().await).await;
        let (now, spent) = (place.usage().await, admitted(&gateway.parallel_requests(2000, 2, 1200).await).len());
        (now, spent)
    })
    .await;
    assert_eq!((spent, after), (5, 1995));
}

const WANTING: LeaseRequest = LeaseRequest { limit: 1000, wanted: 10, is_spooled: true, ended: None, debt: None };

/// The question of this number, of the gateway `a`.
async fn ask(hours: &RedisHours, number: u64, request: LeaseRequest) -> LeaseReply {
    hours.lease(&KEY.into(), "a", LeaseId::from_number(number), request).await.unwrap()
}

async fn decided(hours: &RedisHours, number: u64, request: LeaseRequest) -> LeaseAnswer {
    match ask(hours, number, request).await {
        LeaseReply::Decided(answer) => answer,
        LeaseReply::Late(last) => panic!("{last:?} was asked later"),
    }
}

#[tokio::test]
async fn a_lease_that_nobody_could_settle_counts_as_spent_unless_its_end_is_told() {
    let place = Place::on(&SHARED).await;
    let hours = RedisHours::new(place.redis().await);
    let unspooled = LeaseRequest { is_spooled: false, ..WANTING };
    decided(&hours, 1, unspooled).await;
    let told = decided(&hours, 2, unspooled).await;
    assert_eq!(told.used, 20, "the first may have been spent");
    let ended = Some(LeaseReport { id: told.lease.unwrap().id, spent: 1, finished: true });
    assert_eq!(decided(&hours, 3, LeaseRequest { ended, ..WANTING }).await.used, 10 + 1 + 10);
    assert_eq!(decided(&hours, 4, WANTING).await.used, 10 + 1 + 10, "of this one nothing was");
}

#[tokio::test]
async fn a_question_that_a_later_one_has_passed_is_void() {
    let place = Place::on(&SHARED).await;
    let (late, later) = (RedisHours::new(place.redis().await), RedisHours::new(place.redis().await));
    let granted = decided(&later, 8, WANTING).await.lease.unwrap();
    for number in [7, 8] {
        assert_eq!(ask(&late, number, WANTING).await, LeaseReply::Late(granted.id));
    }
    assert_eq!(later.leases_of("a").await.unwrap(), [(KEY.into(), granted)], "the lease stands");
    let asked_again = decided(&late, 9, WANTING).await;
    assert_eq!((asked_again.used, asked_again.lease.unwrap().permits), (10, 10));
}

#[tokio::test]
async fn a_question_that_wants_nothing_takes_back_what_no_answer_told_of_and_makes_nobody_give_way() {
    let place = Place::on(&SHARED).await;
    let (hours, others) = (RedisHours::new(place.redis().await), RedisHours::new(place.redis().await));
    let other = LeaseId::from_number(1);
    let held = others.lease(&KEY.into(), "b", other, LeaseRequest { limit: 1, ..WANTING }).await.unwrap();
    assert!(matches!(held, LeaseReply::Decided(LeaseAnswer { lease: Some(_), .. })));
    decided(&hours, 1, WANTING).await;
    let answer = decided(&hours, 2, LeaseRequest { wanted: 0, limit: 1, ..WANTING }).await;
    assert_eq!((answer.used, answer.lease), (1, None));
    let still = Report { lease: Some(LeaseReport { id: other, spent: 0, finished: false }), debt: None };
    assert_eq!(others.settle("b", &[(KEY.into(), still)]).await.unwrap(), [false]);
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

#[tokio::test]
async fn a_void_lease_is_wanted_back() {
    let place = Place::on(&SHARED).await;
    let hours = RedisHours::new(place.redis().await);
    let key_id = KeyId::from(KEY);
    let lease = decided(&hours, 1, WANTING).await.lease.unwrap();
    let news = |spent| Report { lease: Some(LeaseReport { id: lease.id, spent, finished: false }), debt: None };
    assert_eq!(hours.settle("a", &[(key_id.clone(), news(1))]).await.unwrap(), [false]);
    hours.reset_hour(&key_id).await.unwrap();
    assert_eq!(hours.settle("a", &[(key_id.clone(), news(2))]).await.unwrap(), [true]);
    assert_eq!(hours.hour_usage(&key_id).await.unwrap().1, 0);
}

#[tokio::test]
async fn a_debt_is_counted_in_its_own_hour_alone() {
    let place = Place::on(&SHARED).await;
    let hours = RedisHours::new(place.redis().await);
    let key_id = KeyId::from(KEY);
    let (now, _) = hours.hour_usage(&key_id).await.unwrap();
    let this_hour = HourWindow::containing(now);
    for (hour, requests) in [(this_hour, 7), (HourWindow::containing(now.minus(Duration::from_hours(1))), 100)] {
        let debt = Some(Debt { hour, requests });
        hours.settle("a", &[(key_id.clone(), Report { lease: None, debt })]).await.unwrap();
    }
    assert_eq!(hours.hour_usage(&key_id).await.unwrap().1, 7);
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

/// A gateway that runs only while it is driven: in between it is frozen.
struct Node {
    runtime: Runtime,
    gateway: Gateway,
}

impl Node {
    fn start(place: &Place, spool: &Arc<tempfile::TempDir>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let gateway =
            runtime.block_on(async { Gateway::start(place.authority().await, OnAuthorityFailure::Reject, spool).await });
        Self { runtime, gateway }
    }

    fn requests(&self, limit: u64, requests: usize) -> usize {
        admitted(&self.runtime.block_on(self.gateway.requests(limit, requests))).len()
    }

    /// Without a word, its connection and its questions with it.
    fn killed_and_back(self, place: &Place) -> Self {
        self.runtime.shutdown_background();
        Self::start(place, &self.gateway.spool)
    }
}

#[test]
fn gateways_that_are_killed_and_frozen_admit_the_limit_together_and_not_one_more() {
    const LIMIT: usize = 3000;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let place = runtime.block_on(Place::on(&SHARED));
    let hour = this_hour();
    let mut nodes: Vec<Node> = (0..4).map(|_| Node::start(&place, &Arc::new(tempfile::tempdir().unwrap()))).collect();
    let mut total = 0;
    let bound = clock::monotonic() + Duration::from_secs(30);
    while total < LIMIT && clock::monotonic() < bound {
        let together = std::thread::scope(|scope| {
            let burst = |node| scope.spawn(move || Node::requests(node, LIMIT as u64, fastrand::usize(1..120)));
            let bursts: Vec<_> = nodes.iter_mut().map(|node| burst(&*node)).collect();
            bursts.into_iter().map(|burst| burst.join().unwrap()).sum::<usize>()
        });
        total += together;
        if this_hour() != hour {
            return gateways_that_are_killed_and_frozen_admit_the_limit_together_and_not_one_more();
        }
        assert!(total <= LIMIT, "{total} admitted");
        let killed = nodes.swap_remove(fastrand::usize(..nodes.len()));
        nodes.push(killed.killed_and_back(&place));
    }
    assert_eq!(total, LIMIT, "each settles what it held when it comes back");
    assert_eq!(nodes.iter().map(|node| node.requests(LIMIT as u64, 50)).sum::<usize>(), 0);
}
