//! Connections to a real file: locked, missing, foreign, read-only, slow.

use std::sync::mpsc;

use super::super::testing::{Folder, sqlite};
use super::*;

async fn migrated() -> (Folder, SqliteStore) {
    let (folder, store) = Folder::migrated().await;
    (folder, sqlite(store))
}

fn count(connection: &mut Connection, table: &str) -> rusqlite::Result<u64> {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
}

fn keys(connection: &mut Connection) -> rusqlite::Result<u64> {
    count(connection, "api_keys")
}

#[tokio::test]
async fn a_locked_database_is_unavailable_within_the_timeout_and_fine_after() {
    let (folder, _) = migrated().await;
    let store = sqlite(folder.store_with_timeout(Duration::from_secs(1)));
    let shell = folder.shell();
    shell.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let answer = store.durable(|connection| connection.transaction()?.commit()).await;
    assert!(matches!(&answer, Err(StoreError::Unavailable(says)) if says.contains("locked")), "{answer:?}");

    shell.execute_batch("COMMIT").unwrap();
    store.durable(|connection| connection.transaction()?.commit()).await.unwrap();
}

#[tokio::test]
async fn readers_do_not_wait_for_a_writer() {
    let (folder, store) = migrated().await;
    let shell = folder.shell();
    shell.execute_batch("BEGIN IMMEDIATE; DELETE FROM api_keys").unwrap();
    assert_eq!(store.read(keys).await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_that_was_not_there_is_asked_once_it_is() {
    let folder = Folder::new();
    let store = sqlite(folder.store());
    let answer = store.read(keys).await;
    assert!(matches!(&answer, Err(StoreError::Unavailable(says)) if says.contains("migrate up")), "{answer:?}");
    assert!(!folder.file().exists());

    folder.store().ensure_migrated().await.unwrap();
    assert_eq!(store.read(keys).await.unwrap(), 0);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_said_so_and_left_alone() {
    let folder = Folder::new();
    let text = "a diary, longer than the header of a database: ".repeat(20);
    std::fs::write(folder.file(), &text).unwrap();
    for answer in [sqlite(folder.store()).read(keys).await.map(drop), folder.store().ensure_migrated().await] {
        assert!(matches!(&answer, Err(StoreError::Schema(says)) if says.contains("no SQLite database")), "{answer:?}");
    }
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), text);
}

#[tokio::test]
async fn a_read_only_database_is_said_so_and_can_still_be_read() {
    let (folder, _) = migrated().await;
    let shell = folder.shell();
    shell.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE").unwrap();
    drop(shell);
    // Byte 18 is the version needed to write (file format 1.3). Unlike permissions it binds root too.
    let mut bytes = std::fs::read(folder.file()).unwrap();
    bytes[18] = 3;
    std::fs::write(folder.file(), bytes).unwrap();

    let store = sqlite(folder.store());
    assert_eq!(store.read(keys).await.unwrap(), 0);
    let answer = store.durable(|connection| connection.execute("DELETE FROM api_keys", [])).await;
    assert!(matches!(&answer, Err(StoreError::Unavailable(says)) if says.contains("permission to write")), "{answer:?}");
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let (_folder, store) = migrated().await;
    let answer = store.read(|connection| connection.execute("DELETE FROM api_keys", [])).await;
    assert!(matches!(&answer, Err(StoreError::Unavailable(says)) if says.contains("read-only")), "{answer:?}");
}

#[tokio::test]
async fn a_slow_answer_is_a_timeout_and_a_question_nobody_waits_for_is_not_begun() {
    let (folder, _) = migrated().await;
    let store = sqlite(folder.store_with_timeout(Duration::from_millis(50)));
    let (go, wait) = mpsc::channel::<()>();
    let (begun, was_begun) = mpsc::channel();
    let slow = store.write(move |_| Ok(wait.recv().is_ok())).await;
    assert!(matches!(slow, Err(StoreError::Timeout(_))), "{slow:?}");
    let behind = store.write(move |_| Ok(begun.send(()).is_ok())).await;
    assert!(matches!(behind, Err(StoreError::Timeout(_))), "{behind:?}");

    go.send(()).unwrap();
    assert!(was_begun.recv().is_err(), "it was dropped without having been begun");
}

#[tokio::test]
async fn a_question_that_panics_harms_nobody_else() {
    let (_folder, store) = migrated().await;
    let answer: Result<(), _> = store
        .write(|connection| {
            connection.execute_batch("BEGIN; INSERT INTO api_key_hours (key_id, hour, used) VALUES ('k', 1, 1)")?;
            panic!("on purpose");
        })
        .await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(store.write(|connection| count(connection, "api_key_hours")).await.unwrap(), 0);
}

#[tokio::test]
async fn the_threads_end_with_the_last_clone() {
    let (_folder, store) = migrated().await;
    let held_by_threads = Arc::downgrade(&store.file);
    drop(store.clone());
    store.read(keys).await.unwrap();
    drop(store);
    let patience = clock::monotonic() + Duration::from_secs(20);
    while held_by_threads.strong_count() > 0 {
        assert!(clock::monotonic() < patience, "a thread still runs");
        std::thread::yield_now();
    }
}
