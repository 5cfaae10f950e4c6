//! However a gateway or a server of the store ends, each record is written once.

use super::*;
use crate::model::timestamp::Timestamp;
use crate::store::testing::postgres_server::Server;
use crate::store::testing::{Place, hold_on_every_store, postgres_store};

#[tokio::test]
async fn closing_without_a_store_ends_in_time_and_leaves_all_to_the_next_start() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    usage.start(&store, &Handle::current());
    record(&usage, 0..100);
    timeout(LIMIT, usage.close(Duration::from_millis(50))).await.expect("closed in time");
    fixture.bring_up(&store).await;
    let usage = fixture.open();
    assert_eq!(fixture.metrics.usage_spooled.get(), 100);
    usage.start(&store, &Handle::current());
    usage.close(LIMIT).await;
    assert_eq!(fixture.rows(), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_crash_after_the_store_has_a_batch_and_before_the_journal_forgot_it_writes_nothing_twice() {
    let fixture = Fixture::new();
    let store = fixture.store();
    fixture.bring_up(&store).await;
    let usage = fixture.open();
    record(&usage, 0..3000);
    drop(usage);
    let kept = segments(&fixture.spool());
    assert!(!kept.is_empty());
    for _ in 0..2 {
        let usage = fixture.open();
        usage.start(&store, &Handle::current());
        usage.close(LIMIT).await;
        for (path, bytes) in &kept {
            std::fs::write(path, bytes).unwrap();
        }
    }
    assert_eq!(fixture.rows(), (0..3000).collect::<Vec<_>>());
}

/// The journal's files with what is in them.
fn segments(spool: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let numbers = segment::numbers(spool).unwrap().into_iter();
    numbers.map(|number| segment::path(spool, number)).map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[tokio::test]
async fn a_postgresql_that_is_killed_meanwhile_has_every_row_once_in_the_end() {
    let (fixture, server) = (Fixture::new(), Server::start());
    let database = server.database();
    let store = postgres_store(&database.url());
    store.migrate_up().await.unwrap();
    let usage = fixture.open();
    usage.start(&store, &Handle::current());
    record(&usage, 0..3000);
    fixture.until(|metrics| metrics.usage_written.get() >= 1000).await;
    server.kill();
    record(&usage, 3000..5000);
    fixture.until(|metrics| metrics.usage_recorded.get() == 5000 && metrics.usage_spooled.get() >= 2000).await;
    drop(usage);
    server.start_again();
    let usage = fixture.open();
    usage.start(&store, &Handle::current());
    usage.close(LIMIT).await;
    let rows = "SELECT count(*), count(DISTINCT response_bytes), max(response_bytes) FROM api_key_usage";
    assert_eq!(database.sql(rows), "5000|5000|4999");
}

hold_on_every_store! { what_a_lost_gateway_left_is_delivered_once_by_whoever_does_it_and_not_while_it_runs }

async fn what_a_lost_gateway_left_is_delivered_once_by_whoever_does_it_and_not_while_it_runs(place: Place, store: Store) {
    let fixture = Fixture::new();
    let usage = fixture.open();
    usage.start(&store, &Handle::current());
    record(&usage, 0..1000);
    assert!(matches!(Spool::open_left(&fixture.spool()), Err(SpoolError::InUse(_))));
    usage.close(LIMIT).await;
    let killed = fixture.open();
    record(&killed, 1000..4000);
    killed.recorder().record(&UsageEvent { timestamp: Timestamp::from_secs(1), ..event(4000) });
    drop(killed);

    let spool = once_free(|| Spool::open_left(&fixture.spool()));
    let delivered = deliver(&spool, &store, &fixture.config()).await.unwrap();
    assert_eq!(delivered, Delivered { written: 3000, dropped: 1 });
    let again = deliver(&spool, &store, &fixture.config()).await.unwrap();
    assert_eq!(again, Delivered { written: 0, dropped: 0 });
    assert_eq!(place.number("SELECT count(*) FROM api_key_usage"), 4000);
    assert_eq!(place.number("SELECT count(DISTINCT response_bytes) FROM api_key_usage"), 4000);
}
