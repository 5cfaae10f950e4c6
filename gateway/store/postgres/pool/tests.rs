use super::*;
use crate::model::key_hash::KeyHash;
use crate::store::testing::postgres_server::{Database, SHARED};
use crate::store::testing::{add_key, config, postgres_store};
use crate::store::{JournalPosition, Store};

async fn migrated() -> Database<'static> {
    let database = SHARED.database();
    postgres_store(&database.url()).migrate_up().await.unwrap();
    database
}

fn store(database: &Database<'_>, pool_size: usize, timeout: &str) -> PostgresStore {
    let settings = format!("url = \"{}\"\npool_size = {pool_size}\ntimeout = \"{timeout}\"", database.url());
    match Store::open(&config(&settings).store) {
        Store::Postgres(store) => store,
        Store::Sqlite(store) => panic!("{store:?}"),
    }
}

async fn sleep(store: &PostgresStore, seconds: f64) -> Result<(), StoreError> {
    store.read(async |client| Ok(client.execute("SELECT pg_sleep($1)", &[&seconds]).await.map(drop)?)).await
}

#[tokio::test]
async fn a_slow_answer_is_a_timeout_and_its_connection_is_not_used_again() {
    let database = migrated().await;
    let store = store(&database, 1, "300ms");
    assert!(matches!(sleep(&store, 60.0).await, Err(StoreError::Timeout(_))));
    sleep(&store, 0.0).await.unwrap();
}

#[tokio::test]
async fn a_question_whose_asker_left_holds_up_nobody() {
    let database = migrated().await;
    let store = store(&database, 1, "10s");
    sleep(&store, 0.0).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), sleep(&store, 60.0)).await.is_err());
    sleep(&store, 0.0).await.unwrap();
}

#[tokio::test]
async fn with_every_connection_in_use_the_operator_is_told_to_raise_their_number() {
    let database = migrated().await;
    let store = store(&database, 1, "300ms");
    sleep(&store, 0.0).await.unwrap();
    let (slow, behind) =
        tokio::join!(store.report(async |client| Ok(client.execute("SELECT pg_sleep(1)", &[]).await?)), sleep(&store, 0.0));
    slow.unwrap();
    assert!(matches!(&behind, Err(StoreError::Unavailable(says)) if says.contains("pool_size")), "{behind:?}");
}

const IN_A_TRANSACTION: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND datname = current_database()";

async fn number(store: &PostgresStore, question: &'static str) -> i64 {
    store.read(async |client| Ok(client.query_one(question, &[]).await?.get(0))).await.unwrap()
}

/// Each kind of change meets a lock on what it needs; none is done once the lock is gone.
#[tokio::test]
async fn a_change_that_waits_too_long_for_a_lock_is_ended_by_the_server_and_never_done() {
    let database = migrated().await;
    let id = add_key(&postgres_store(&database.url()), "k").await;
    let hour = "INSERT INTO api_key_hours SELECT key_id, floor(extract(epoch FROM now()) / 3600), 7 FROM api_keys";
    database.sql(hour);
    let (patient, hasty) = (store(&database, 1, "20s"), store(&database, 1, "500ms"));
    let held = patient.change(async |transaction| {
        transaction.batch_execute("LOCK TABLE api_keys, api_key_hours, api_key_usage_positions").await?;
        let (spool, upto) = ("spool", JournalPosition { segment: 1, offset: 1 });
        let refusals = [
            hasty.revoke_key(&id, clock::now()).await.map(drop),
            hasty.reset_hour(&id).await,
            hasty.write_usage(spool, None, upto, Arc::default()).await.map(drop),
        ];
        for refusal in refusals {
            assert!(matches!(&refusal, Err(StoreError::Unavailable(says)) if says.contains("lock")), "{refusal:?}");
        }
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        assert_eq!(transaction.query_one(waiting, &[]).await?.get::<_, i64>(0), 0);
        Ok(())
    });
    held.await.unwrap();
    let left = "SELECT (SELECT used FROM api_key_hours), (SELECT is_active FROM api_keys), (SELECT count(*) FROM \
                api_key_usage_positions)";
    assert_eq!(database.sql(left), "7|t|0");
}

/// As a command that is interrupted. The server notices only when it wants to answer.
#[tokio::test]
async fn a_change_whose_asker_left_while_it_waited_for_a_lock_is_never_done() {
    let database = migrated().await;
    let id = add_key(&postgres_store(&database.url()), "k").await;
    database.sql("INSERT INTO api_key_hours SELECT key_id, floor(extract(epoch FROM now()) / 3600), 7 FROM api_keys");
    let [patient, leaving, observer] = [1; 3].map(|pool_size| store(&database, pool_size, "20s"));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let held = patient.change(async |transaction| {
        transaction.batch_execute("LOCK TABLE api_key_hours").await?;
        let waits = async { while number(&observer, waiting).await == 0 {} };
        tokio::select! {
            reset = leaving.reset_hour(&id) => panic!("{reset:?}"),
            () = waits => Ok(()),
        }
    });
    held.await.unwrap();
    while number(&observer, IN_A_TRANSACTION).await > 1 {}
    assert_eq!(database.sql("SELECT used FROM api_key_hours"), "7");
}

#[tokio::test]
async fn a_gateway_that_is_frozen_amid_a_change_holds_its_locks_no_longer_than_the_timeout() {
    let database = migrated().await;
    let id = add_key(&postgres_store(&database.url()), "k").await;
    let (frozen, other) = (store(&database, 1, "1s"), store(&database, 1, "20s"));
    let held = frozen.change(async |transaction| {
        transaction.execute("SELECT 1 FROM api_keys FOR UPDATE", &[]).await?;
        // This thread does nothing else meanwhile, as if it were stopped.
        database.sql("UPDATE api_keys SET name = 'changed by somebody else'");
        Ok(())
    });
    assert!(held.await.is_err());
    assert_eq!(other.get_key(&id).await.unwrap().unwrap().name, "changed by somebody else");
}

#[tokio::test]
async fn a_change_that_fails_is_taken_back() {
    let database = migrated().await;
    let store = store(&database, 1, "20s");
    add_key(&postgres_store(&database.url()), "k").await;
    let failed: Result<(), _> = store
        .change(async |transaction| {
            transaction.execute("DELETE FROM api_keys", &[]).await?;
            Err(StoreError::Refused("on purpose".to_owned()).into())
        })
        .await;
    assert!(matches!(failed, Err(StoreError::Refused(_))));
    assert!(store.find_key(KeyHash::of(b"k")).await.unwrap().is_some());
}
