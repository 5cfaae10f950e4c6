//! A question that was given up and is carried out all the same, after later ones. The connection swallows it, and the gateway
//! makes another.

use super::testing::{Gateway, KEY, within_one_hour};
use super::*;
use crate::config;
use crate::redis::Redis;
use crate::redis::testing::{Server, fresh_prefix};
use crate::store::Store;
use crate::store::sqlite::testing::Folder;
use crate::store::testing::postgres_server::SHARED;
use crate::store::testing::tcp_proxy::TcpProxy;

/// A lease has ten permits.
const LIMIT: u64 = 1000;

#[tokio::test]
async fn postgresql_carries_out_a_question_late_and_the_gateway_still_admits_the_limit_and_no_more() {
    let in_all = within_one_hour(async || {
        let (database, proxy) = (SHARED.database(), TcpProxy::before(SHARED.port()));
        crate::store::testing::postgres_store(&database.url()).migrate_up().await.unwrap();
        let url = database.url_through(proxy.port());
        let through = format!("url = \"{url}\"\ntimeout = \"300ms\"\npool_size = 1");
        let store = Store::open(&crate::store::testing::config(&through).store);
        let connections =
            || database.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").parse().unwrap();
        admitted_with_one_late(Authority::new(store, None), &proxy, connections).await
    })
    .await;
    assert_eq!(in_all, LIMIT);
}

#[tokio::test]
async fn redis_carries_out_a_question_late_and_the_gateway_still_admits_the_limit_and_no_more() {
    let in_all = within_one_hour(async || {
        let (server, (_folder, store)) = (Server::start(), Folder::migrated().await);
        let proxy = TcpProxy::before(server.port());
        let config = config::Redis::at(&format!("redis://127.0.0.1:{}", proxy.port()), &fresh_prefix());
        let redis = Redis::connect(&config, &Arc::default(), &Tasks::new()).await;
        let connections = || server.cli(&["client", "list"]).lines().count();
        admitted_with_one_late(Authority::new(store, Some(redis)), &proxy, connections).await
    })
    .await;
    assert_eq!(in_all, LIMIT);
}

/// `connections` that the server has.
async fn admitted_with_one_late(authority: Authority, proxy: &TcpProxy, connections: impl Fn() -> usize) -> u64 {
    let gateway = Gateway::fresh(authority).await;
    let mut in_all = admitted(&gateway, 10).await;
    proxy.hold_questions();
    assert_eq!(gateway.request(LIMIT).await, Verdict::Unavailable);
    // Half of a new lease, which the late question would take back.
    in_all += admitted(&gateway, 5).await;
    let before = connections();
    proxy.ask();
    until(|| connections() < before).await;
    in_all += admitted(&gateway, 2 * LIMIT).await;
    gateway.limiter.round(Duration::ZERO).await;
    let (_, used) = gateway.limiter.authority.hour_usage(&KEY.into()).await.unwrap();
    assert_eq!(used, in_all);
    used
}

/// What was refused because nobody could be asked is asked again.
async fn admitted(gateway: &Gateway, requests: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..requests {
        let mut verdict = gateway.request(LIMIT).await;
        while verdict == Verdict::Unavailable {
            until(|| !gateway.limiter.is_away.load(Ordering::Relaxed)).await;
            verdict = gateway.request(LIMIT).await;
        }
        admitted += u64::from(matches!(verdict, Verdict::Admitted(_)));
    }
    admitted
}

async fn until(fact: impl Fn() -> bool) {
    let bound = clock::monotonic() + Duration::from_secs(20);
    while !fact() {
        assert!(clock::monotonic() < bound, "it did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
