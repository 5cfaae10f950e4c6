//! What is older than its retention is not written, and deleted where it was.

use super::*;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::UsageBatch;

#[tokio::test]
async fn what_is_past_its_retention_is_counted_and_not_written() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    fixture.bring_up(&store).await;
    let recorder = usage.recorder();
    recorder.record(&UsageEvent { timestamp: Timestamp::from_secs(1), ..event(1) });
    recorder.record(&event(2));
    recorder.record(&UsageEvent { timestamp: Timestamp::from_secs(1), ..event(3) });
    usage.start(&store, &Handle::current());
    usage.close(LIMIT).await;
    assert_eq!(fixture.rows(), [2]);
    assert_eq!((fixture.metrics.usage_written.get(), fixture.metrics.usage_dropped.get()), (1, 2));
}

#[tokio::test]
async fn rows_past_their_retention_are_deleted_and_the_others_kept() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    fixture.bring_up(&store).await;
    let aged = |number, timestamp| UsageEvent { timestamp, ..event(number) };
    let mut rows: UsageBatch = (0..2500).map(|number| aged(number, Timestamp::from_secs(number))).collect();
    rows.push(&aged(2500, clock::now()));
    store.write_usage("another", None, JournalPosition { segment: 1, offset: 1 }, Arc::new(rows)).await.unwrap();
    usage.start(&store, &Handle::current());
    fixture.until(|_| fixture.rows() == [2500]).await;
    usage.close(LIMIT).await;
}
