//! Usage: batches are written once, and what is asked of the rows is answered.

use std::sync::Arc;
use std::time::Duration;

use crate::model::ids::KeyId;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::{UsageBatch, UsageEvent};
use crate::store::testing::{NOW, Place, hash, hold_on_every_store, record};
use crate::store::{JournalPosition, Store};

hold_on_every_store!(
    a_batch_that_comes_twice_is_written_once,
    a_batch_from_a_position_that_has_passed_is_not_written_and_told_where_to_go_on,
    of_gateways_that_deliver_the_same_batch_at_once_one_writes_it,
    two_spools_keep_their_own_positions,
    last_used_never_moves_back,
    the_most_active_keys_come_first_with_their_mean_time,
    old_usage_is_deleted_oldest_first_in_bounded_batches,
);

pub(crate) fn at(segment: u64, offset: u64) -> JournalPosition {
    JournalPosition { segment, offset }
}

pub(crate) fn row(key_id: &str, timestamp: Timestamp) -> UsageEvent<'_> {
    UsageEvent {
        key_id,
        request_id: "0192f3c4-aaaa-7bbb-8ccc-0123456789ab",
        method: "GET",
        endpoint: "/v1/models/some-model/predict",
        status: 200,
        timestamp,
        response_micros: 12_345,
        request_bytes: 120,
        response_bytes: 4096,
        client_ip: Some([203, 0, 113, 7].into()),
    }
}

pub(crate) fn batch<'a>(rows: impl IntoIterator<Item = UsageEvent<'a>>) -> Arc<UsageBatch> {
    Arc::new(rows.into_iter().collect())
}

async fn rows(store: &Store) -> u64 {
    store.count_usage_before(NOW.plus(Duration::from_hours(24))).await.unwrap()
}

async fn a_batch_that_comes_twice_is_written_once(_place: Place, store: Store) {
    let batch = || batch([row("a", NOW), row("b", NOW)]);
    assert_eq!(store.usage_position("spool").await.unwrap(), None);
    for _ in 0..2 {
        assert_eq!(store.write_usage("spool", None, at(1, 100), batch()).await.unwrap(), at(1, 100));
    }
    assert_eq!(rows(&store).await, 2);
    assert_eq!(store.write_usage("spool", Some(at(1, 100)), at(2, 8), batch()).await.unwrap(), at(2, 8));
    assert_eq!(store.usage_position("spool").await.unwrap(), Some(at(2, 8)));
    assert_eq!(rows(&store).await, 4);
}

async fn a_batch_from_a_position_that_has_passed_is_not_written_and_told_where_to_go_on(_place: Place, store: Store) {
    store.write_usage("spool", None, at(1, 100), batch([row("a", NOW)])).await.unwrap();
    let longer = store.write_usage("spool", None, at(1, 200), batch([row("a", NOW), row("b", NOW)])).await.unwrap();
    assert_eq!((longer, rows(&store).await), (at(1, 100), 1));
}

async fn of_gateways_that_deliver_the_same_batch_at_once_one_writes_it(place: Place, store: Store) {
    let gateways: Vec<Store> = (0..4).map(|_| place.store()).collect();
    let mut after = None;
    for number in 1..=10 {
        let deliver = |gateway: &Store| {
            let gateway = gateway.clone();
            async move { gateway.write_usage("spool", after, at(number, 0), batch([row("a", NOW); 10])).await }
        };
        let (a, b, c, d) =
            tokio::join!(deliver(&gateways[0]), deliver(&gateways[1]), deliver(&gateways[2]), deliver(&gateways[3]));
        for stands in [a, b, c, d] {
            assert_eq!(stands.unwrap(), at(number, 0));
        }
        after = Some(at(number, 0));
    }
    assert_eq!(rows(&store).await, 100);
}

async fn two_spools_keep_their_own_positions(_place: Place, store: Store) {
    store.write_usage("one", None, at(1, 1), batch([row("a", NOW)])).await.unwrap();
    assert_eq!(store.write_usage("two", None, at(9, 9), batch([row("a", NOW)])).await.unwrap(), at(9, 9));
    assert_eq!(store.usage_position("one").await.unwrap(), Some(at(1, 1)));
}

async fn last_used_never_moves_back(place: Place, store: Store) {
    let used = async || store.get_key(&"a".into()).await.unwrap().unwrap().last_used_at;
    store.insert_key(hash("a"), record("a")).await.unwrap();
    let (key_id, earlier) = (KeyId::from("a"), NOW.minus(Duration::from_secs(1)));
    store.touch_last_used(vec![(key_id.clone(), NOW), ("deleted".into(), NOW)]).await.unwrap();
    assert_eq!(used().await, Some(NOW));
    store.touch_last_used(vec![(key_id.clone(), earlier)]).await.unwrap();
    assert_eq!(used().await, Some(NOW));
    place.sql("UPDATE api_keys SET last_used_at = '2026-11-22T10:00:00.500Z'");
    store.touch_last_used(vec![(key_id, NOW)]).await.unwrap();
    assert_eq!(used().await, Some(NOW.plus(Duration::from_millis(500))));
}

async fn the_most_active_keys_come_first_with_their_mean_time(_place: Place, store: Store) {
    for key_id in ["busy", "calm", "idle"] {
        store.insert_key(hash(key_id), KeyRecord { name: key_id.to_owned(), ..record(key_id) }).await.unwrap();
    }
    let long_ago = NOW.minus(Duration::from_hours(48));
    let slow = UsageEvent { response_micros: 20_345, ..row("busy", NOW) };
    let batch = batch([row("calm", NOW), row("busy", NOW), slow, row("idle", long_ago), row("deleted", NOW)]);
    store.write_usage("spool", None, at(1, 1), batch).await.unwrap();

    let top = store.usage_top(NOW.minus(Duration::from_hours(24)), 10).await.unwrap();
    let shown: Vec<_> = top.iter().map(|usage| (usage.name.as_str(), usage.user_id.as_str(), usage.request_count)).collect();
    assert_eq!(shown, [("busy", "alice", 2), ("calm", "alice", 1)]);
    assert!((top[0].avg_response_time_ms - 16.345).abs() < 1e-9);
    assert_eq!(store.usage_top(long_ago, 1).await.unwrap(), top[..1]);
}

async fn old_usage_is_deleted_oldest_first_in_bounded_batches(_place: Place, store: Store) {
    let batch = batch((0..10).map(|second| row("a", NOW.plus(Duration::from_secs(second)))));
    store.write_usage("spool", None, at(1, 1), batch).await.unwrap();
    let end = NOW.plus(Duration::from_secs(7));
    assert_eq!(store.count_usage_before(end).await.unwrap(), 7);
    assert_eq!(store.delete_usage_before(end, 5).await.unwrap(), 5);
    assert_eq!(store.count_usage_before(NOW.plus(Duration::from_secs(5))).await.unwrap(), 0);
    assert_eq!(store.delete_usage_before(end, 5).await.unwrap(), 2);
    assert_eq!(rows(&store).await, 3);
}
