use std::time::Duration;

use crate::model::timestamp::Timestamp;
use crate::store::guarantees::usage::{batch, row};
use crate::store::testing::postgres_server::{Database, SHARED};
use crate::store::testing::{NOW, postgres_store};
use crate::store::{JournalPosition, Store, StoreError};

const DAY: Duration = Duration::from_hours(24);

async fn migrated() -> (Database<'static>, Store) {
    let database = SHARED.database();
    let store = postgres_store(&database.url());
    store.migrate_up().await.unwrap();
    (database, store)
}

/// As user `clerk`, who may read and write and owns nothing.
fn as_clerk(database: &Database<'_>) -> Store {
    database.sql(
        "DO $$ BEGIN CREATE ROLE clerk LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk",
    );
    postgres_store(&database.url().replace("postgres@", "clerk@"))
}

/// One row at each of these instants, written by a gateway of its own.
async fn write(store: &Store, spool_id: &str, instants: &[Timestamp]) {
    let rows = batch(instants.iter().map(|instant| row("a", *instant)));
    store.write_usage(spool_id, None, JournalPosition { segment: 1, offset: 1 }, rows).await.unwrap();
}

/// Where rows are, and how many.
fn filled(database: &Database<'_>) -> String {
    database
        .sql("SELECT tableoid::regclass::text AS part, count(*) FROM api_key_usage GROUP BY part ORDER BY part")
        .replace('\n', " ")
}

fn partitions(database: &Database<'_>) -> String {
    database.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'api_key_usage'::regclass")
}

#[tokio::test]
async fn the_days_to_come_have_their_partitions_before_they_have_rows() {
    let (database, store) = migrated().await;
    for _ in 0..2 {
        store.make_room_for_usage(NOW).await.unwrap();
        assert_eq!(partitions(&database), "9", "today, seven days, and the default one");
    }
    let instants = [NOW, NOW.plus(7 * DAY)];
    write(&store, "spool", &instants).await;
    assert_eq!(filled(&database), "api_key_usage_20261122|1 api_key_usage_20261129|1");
}

#[tokio::test]
async fn gateways_that_make_the_same_partitions_at_once_all_succeed() {
    let (database, store) = migrated().await;
    let others = [0; 3].map(|_| postgres_store(&database.url()));
    let made = tokio::join!(
        store.make_room_for_usage(NOW),
        others[0].make_room_for_usage(NOW),
        others[1].make_room_for_usage(NOW),
        others[2].make_room_for_usage(NOW)
    );
    assert!(matches!(made, (Ok(()), Ok(()), Ok(()), Ok(()))), "{made:?}");
    assert_eq!(partitions(&database), "9");
}

#[tokio::test]
async fn a_batch_makes_the_partitions_it_lacks() {
    let (database, store) = migrated().await;
    let midnight = Timestamp::from_secs(NOW.as_secs() / 86400 * 86400);
    write(&store, "spool", &[midnight, midnight.minus(Duration::from_millis(1)), NOW]).await;
    assert_eq!(filled(&database), "api_key_usage_20261121|1 api_key_usage_20261122|2");
}

#[tokio::test]
async fn usage_brought_from_elsewhere_gets_its_days() {
    let (database, store) = migrated().await;
    database.sql(
        "INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code)
         SELECT 'a', '/', instant, 1, 200 FROM unnest('{2025-02-28 23:59+00, 2025-03-01 00:00+00, 2025-03-01 12:00+00,
             -infinity, infinity}'::timestamptz[]) AS instant",
    );
    assert_eq!(filled(&database), "api_key_usage_default|5");
    store.make_room_for_usage(NOW).await.unwrap();
    let moved = "api_key_usage_20250228|1 api_key_usage_20250301|2 api_key_usage_default|2";
    assert_eq!(filled(&database), moved, "but for what is of no day");
}

#[tokio::test]
async fn a_gateway_that_may_make_no_tables_writes_and_deletes_all_the_same() {
    let (database, store) = migrated().await;
    write(&store, "owner", &[NOW]).await;
    let clerk = as_clerk(&database);
    let earlier = NOW.minus(2 * DAY);
    write(&clerk, "clerk", &[earlier, NOW]).await;
    assert_eq!(filled(&database), "api_key_usage_20261122|2 api_key_usage_default|1");
    clerk.make_room_for_usage(NOW).await.unwrap();
    assert_eq!(filled(&database), "api_key_usage_20261122|2 api_key_usage_default|1", "nothing was made");
    assert_eq!(clerk.delete_usage_before(NOW.plus(2 * DAY), 2).await.unwrap(), 2);
    assert_eq!(filled(&database), "api_key_usage_20261122|1");
}

#[tokio::test]
async fn a_gateway_that_becomes_the_owner_makes_what_is_missing() {
    let (database, _) = migrated().await;
    let clerk = as_clerk(&database);
    write(&clerk, "clerk", &[NOW]).await;
    clerk.make_room_for_usage(NOW).await.unwrap();
    assert_eq!(partitions(&database), "1");
    database.sql("ALTER TABLE api_key_usage OWNER TO clerk");
    clerk.make_room_for_usage(NOW).await.unwrap();
    assert_eq!(partitions(&database), "1", "it may not make tables");
    database.sql("ALTER TABLE api_key_usage_default OWNER TO clerk; GRANT CREATE ON SCHEMA public TO clerk");
    clerk.make_room_for_usage(NOW).await.unwrap();
    assert_eq!((partitions(&database).as_str(), filled(&database).as_str()), ("9", "api_key_usage_20261122|1"));
}

#[tokio::test]
async fn days_wholly_past_go_in_one_stroke_and_of_the_day_before_them_no_more_rows_than_asked() {
    let (database, store) = migrated().await;
    let day = |days: u32| NOW.plus(days * DAY);
    write(&store, "spool", &[day(0), day(0), day(0), day(1), day(2), day(2), day(2), day(3)]).await;
    let end = day(2).plus(Duration::from_secs(1));
    assert_eq!(store.delete_usage_before(end, 2).await.unwrap(), 4 + 2);
    assert_eq!(filled(&database), "api_key_usage_20261124|1 api_key_usage_20261125|1");
    assert_eq!(partitions(&database), "3");
    assert_eq!(store.delete_usage_before(end, 2).await.unwrap(), 1);
    assert_eq!(store.delete_usage_before(end, 2).await.unwrap(), 0);
}

#[tokio::test]
async fn gateways_that_delete_at_once_count_each_row_once() {
    let (database, store) = migrated().await;
    let instants: Vec<Timestamp> = (0..400).map(|hour| NOW.plus(Duration::from_hours(hour))).collect();
    write(&store, "spool", &instants).await;
    let others = [0; 3].map(|_| postgres_store(&database.url()));
    let delete = async |store: &Store| {
        let mut total = 0;
        loop {
            match store.delete_usage_before(instants[399], 5).await.unwrap() {
                0 => return total,
                deleted => total += deleted,
            }
        }
    };
    let (a, b, c, d) = tokio::join!(delete(&store), delete(&others[0]), delete(&others[1]), delete(&others[2]));
    assert_eq!(a + b + c + d, 399);
    assert_eq!(filled(&database), "api_key_usage_20261209|1");
}

#[tokio::test]
async fn a_partition_that_somebody_reads_is_dropped_later_and_writers_go_on() {
    let (database, store) = migrated().await;
    write(&store, "spool", &[NOW, NOW.plus(DAY)]).await;
    let (mut reader, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    let tasks = crate::drain::Tasks::new();
    tasks.spawn(async move { connection.await.unwrap() });
    let report = reader.transaction().await.unwrap();
    report.batch_execute("SELECT * FROM api_key_usage").await.unwrap();
    let refused = store.delete_usage_before(NOW.plus(DAY), 1).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(says)) if says.contains("lock")), "{refused:?}");
    write(&store, "another", &[NOW.plus(DAY)]).await;
    report.rollback().await.unwrap();
    assert_eq!(store.delete_usage_before(NOW.plus(DAY), 1).await.unwrap(), 1);
}

#[tokio::test]
async fn somebodys_own_partition_is_used_and_left_alone() {
    let (database, store) = migrated().await;
    database.sql(
        "CREATE TABLE november PARTITION OF api_key_usage FOR VALUES FROM ('2026-11-01 00:00+00') TO ('2026-12-01 00:00+00')",
    );
    store.make_room_for_usage(NOW).await.unwrap();
    write(&store, "spool", &[NOW, NOW.plus(10 * DAY)]).await;
    assert_eq!(filled(&database), "api_key_usage_20261202|1 november|1");
    assert_eq!(store.delete_usage_before(NOW.plus(20 * DAY), 10).await.unwrap(), 2);
    assert_eq!(database.sql("SELECT count(*) FROM november"), "0");
}

/// The guide's statements as they stand in it.
#[tokio::test]
async fn the_guides_statements_run_unchanged() {
    let (database, store) = migrated().await;
    let now = crate::clock::now();
    database.sql("INSERT INTO api_keys (key_id, key_hash, key_prefix, user_id, name) VALUES ('a', 'h', 'p', 'alice', 'ci')");
    write(&store, "spool", &[now, now, now.minus(31 * DAY)]).await;
    let top = database.sql(
        "SELECT
            k.name,
            k.user_id,
            COUNT(u.id) as request_count,
            AVG(u.response_time_ms) as avg_response_time
        FROM api_keys k
        JOIN api_key_usage u ON k.key_id = u.api_key_id
        WHERE u.timestamp > NOW() - INTERVAL '24 hours'
        GROUP BY k.key_id, k.name, k.user_id
        ORDER BY request_count DESC
        LIMIT 10;",
    );
    assert_eq!(top, "ci|alice|2|12.345");
    database.sql(
        "DELETE FROM api_key_usage
        WHERE timestamp < NOW() - INTERVAL '30 days';",
    );
    assert_eq!(database.sql("SELECT count(*) FROM api_key_usage"), "2");
}
