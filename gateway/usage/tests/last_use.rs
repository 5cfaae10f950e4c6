//! When a key was last used, as the store has it.

use super::*;
use crate::model::timestamp::Timestamp;

/// As the store has it, of the key of all events.
async fn last_used(store: &Store) -> Option<Timestamp> {
    store.get_key(&event(0).key_id.into()).await.unwrap().unwrap().last_used_at
}

#[tokio::test]
async fn a_keys_last_use_is_noted() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    fixture.bring_up(&store).await;
    fixture.add_key();
    let (early, late) = (clock::now().minus(LIMIT), clock::now());
    let recorder = usage.recorder();
    recorder.record(&UsageEvent { timestamp: late, ..event(1) });
    recorder.record(&UsageEvent { timestamp: early, ..event(2) });
    usage.start(&store, &Handle::current());
    usage.close(LIMIT).await;
    assert_eq!(last_used(&store).await, Some(late));
}

#[tokio::test]
async fn batches_in_one_interval_note_a_keys_use_once_and_at_the_end_again() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    fixture.bring_up(&store).await;
    fixture.add_key();
    let config = config::Usage { flush_interval: LIMIT, ..fixture.config() };
    let mut flusher = Flusher::new(usage.backlog.clone(), store.clone(), "spool", &config, Arc::default());
    let (recorder, start) = (usage.recorder(), clock::now());
    let mut noted = Vec::new();
    for (second, to_the_last) in [(1, false), (2, false), (3, true)] {
        recorder.record(&UsageEvent { timestamp: start.plus(Duration::from_secs(second)), ..event(second) });
        fixture.until(|metrics| metrics.usage_spooled.get() == 1).await;
        flusher.flush(to_the_last).await.unwrap();
        noted.push(last_used(&store).await.unwrap().since(start).as_secs());
    }
    assert_eq!(noted, [1, 1, 3]);
}
