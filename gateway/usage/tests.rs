//! The way from a worker to the store as a whole, with a real store.

mod ends;
mod last_use;
mod retention;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;
use crate::clock;
use crate::model::usage_event::UsageEvent;
use crate::spool::testing::once_free;
use crate::store::JournalPosition;
use crate::store::sqlite::SqliteStore;

const LIMIT: Duration = Duration::from_secs(20);

struct Fixture {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), metrics: Arc::default() }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn config(&self) -> config::Usage {
        config::Usage {
            enabled: true,
            retention: Duration::from_hours(30 * 24),
            spool: self.spool(),
            spool_max: 1 << 30,
            flush_interval: Duration::from_millis(1),
        }
    }

    fn open(&self) -> Usage {
        let config = self.config();
        let spool = once_free(|| Spool::open(&config.spool));
        Usage::open(&config, Arc::new(spool), &self.metrics).unwrap()
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("data/gateway.db")
    }

    /// It cannot be reached until [`bring_up`](Self::bring_up).
    fn store(&self) -> Store {
        self.store_with_timeout(Duration::from_secs(2))
    }

    fn store_with_timeout(&self, timeout: Duration) -> Store {
        Store::Sqlite(SqliteStore::new(self.database(), NonZeroUsize::MIN, timeout))
    }

    async fn bring_up(&self, store: &Store) {
        std::fs::create_dir_all(self.database().parent().unwrap()).unwrap();
        store.ensure_migrated().await.unwrap();
    }

    /// The key of all events.
    fn add_key(&self) {
        let connection = Connection::open(self.database()).unwrap();
        let insert = "INSERT INTO api_keys (key_id, key_hash, key_prefix, user_id, name) VALUES (?1, 'h', 'p', 'u', 'n')";
        connection.execute(insert, [event(0).key_id]).unwrap();
    }

    /// The numbers of the rows in the store, in the order they were written.
    fn rows(&self) -> Vec<u64> {
        let connection = Connection::open(self.database()).unwrap();
        let mut statement = connection.prepare("SELECT response_bytes FROM api_key_usage ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    async fn until(&self, what: impl Fn(&Metrics) -> bool) {
        let look = async {
            while !what(&self.metrics) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, look).await.expect("it comes to be");
    }
}

fn event(number: u64) -> UsageEvent<'static> {
    UsageEvent { timestamp: clock::now(), ..samples::event(number) }
}

fn record(usage: &Usage, numbers: std::ops::Range<u64>) {
    let recorder = usage.recorder();
    numbers.for_each(|number| recorder.record(&event(number)));
}

#[tokio::test]
async fn what_is_recorded_is_written_once() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    fixture.bring_up(&store).await;
    usage.start(&store, &Handle::current());
    record(&usage, 0..5000);
    fixture.until(|metrics| metrics.usage_written.get() == 5000).await;
    assert_eq!(fixture.metrics.usage_spooled.get(), 0);
    record(&usage, 5000..5010);
    usage.close(LIMIT).await;
    assert_eq!(fixture.rows(), (0..5010).collect::<Vec<_>>());
    assert_eq!(fixture.metrics.usage_recorded.get(), 5010);
}

#[tokio::test]
async fn records_of_all_workers_are_written() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    fixture.bring_up(&store).await;
    usage.start(&store, &Handle::current());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let usage = &usage;
            scope.spawn(move || record(usage, worker * 1000..(worker + 1) * 1000));
        }
    });
    usage.close(LIMIT).await;
    let mut rows = fixture.rows();
    rows.sort_unstable();
    assert_eq!(rows, (0..4000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_that_was_away_gets_everything_in_order_when_it_is_back() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    usage.start(&store, &Handle::current());
    record(&usage, 0..3000);
    fixture.until(|metrics| metrics.usage_spooled.get() == 3000).await;
    assert_eq!(fixture.metrics.usage_written.get(), 0);
    fixture.bring_up(&store).await;
    fixture.until(|metrics| metrics.usage_written.get() == 3000).await;
    usage.close(LIMIT).await;
    assert_eq!(fixture.rows(), (0..3000).collect::<Vec<_>>());
    assert_eq!(fixture.metrics.usage_dropped.get(), 0);
}

#[tokio::test]
async fn a_batch_that_the_store_refused_for_a_while_is_written_once() {
    let fixture = Fixture::new();
    let store = fixture.store_with_timeout(Duration::from_millis(200));
    let usage = fixture.open();
    fixture.bring_up(&store).await;
    usage.start(&store, &Handle::current());
    record(&usage, 0..10);
    fixture.until(|metrics| metrics.usage_written.get() == 10).await;
    let other = Connection::open(fixture.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    record(&usage, 10..20);
    fixture.until(|metrics| metrics.usage_spooled.get() == 10).await;
    record(&usage, 20..30);
    let place = JournalPosition { segment: 1, offset: 1 };
    for _ in 0..2 {
        assert!(store.write_usage("another", None, place, Arc::default()).await.is_err(), "as for the gateway's own");
    }
    other.execute_batch("COMMIT").unwrap();
    usage.close(LIMIT).await;
    assert_eq!(fixture.rows(), (0..30).collect::<Vec<_>>());
    assert_eq!((fixture.metrics.usage_written.get(), fixture.metrics.usage_spooled.get()), (30, 0));
}

#[tokio::test]
async fn a_place_that_moved_by_itself_is_followed() {
    let fixture = Fixture::new();
    let (usage, store) = (fixture.open(), fixture.store());
    fixture.bring_up(&store).await;
    let id = usage.spool.id().to_owned();
    usage.start(&store, &Handle::current());
    record(&usage, 0..10);
    fixture.until(|metrics| metrics.usage_written.get() == 10).await;
    let stored = store.usage_position(&id).await.unwrap();
    store.write_usage(&id, stored, JournalPosition { segment: 1, offset: 1 }, Arc::default()).await.unwrap();
    record(&usage, 10..20);
    usage.close(LIMIT).await;
    assert_eq!(fixture.rows().last(), Some(&19), "what came later is written all the same");
}
