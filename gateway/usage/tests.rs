//! The way from a worker to the store as a whole, with a real store.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;
use crate::clock;
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::{UsageBatch, UsageEvent};
use crate::store::JournalPosition;
use crate::store::sqlite::SqliteStore;
use crate::store::testing::postgres_server::Server;
use crate::store::testing::{Place, hold_on_every_store, postgres_store};

const LIMIT: Duration = Duration::from_secs(20);

struct Fixture {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
}

/// A process that another test is just starting holds a copy of every lock until it runs its program.
fn once_free(open: impl Fn() -> Result<Spool, SpoolError>) -> Spool {
    let deadline = clock::monotonic() + LIMIT;
    loop {
        match open() {
            Err(SpoolError::InUse(_)) if clock::monotonic() < deadline => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
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
