//! The tables in a real file: made, taken back, newer than this version, from elsewhere.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::super::testing::Folder;
use super::*;

fn says(answer: Result<impl std::fmt::Debug, StoreError>) -> String {
    match answer {
        Err(StoreError::Schema(says)) => says,
        other => panic!("not refused for good: {other:?}"),
    }
}

#[tokio::test]
async fn up_makes_a_private_database_and_down_takes_everything_back() {
    let folder = Folder::new();
    let store = folder.store();
    let nothing = store.migration_status().await.unwrap();
    assert_eq!((nothing.migrations[0].applied_at, nothing.api_keys), (None, None));
    assert!(!folder.file().exists(), "looking makes nothing");

    assert_eq!(store.migrate_up().await.unwrap(), ["api_keys", "rotated_at", "api_key_events", "imported_keys", "key_networks"]);
    assert_eq!(store.migrate_up().await.unwrap(), [""; 0]);
    assert_eq!(std::fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let status = store.migration_status().await.unwrap();
    assert!(status.migrations[0].applied_at.is_some());
    assert_eq!((status.api_keys, status.api_key_usage), (Some(0), Some(0)));

    assert_eq!(
        store.migrate_down().await.unwrap(),
        ["key_networks", "imported_keys", "api_key_events", "rotated_at", "api_keys"]
    );
    assert_eq!(store.migration_status().await.unwrap(), nothing);
    let left: u64 = folder
        .shell()
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn every_file_of_the_folder_is_embedded_and_records_itself() {
    migrations::tests::every_file_is_embedded_and_records_itself(&MIGRATIONS, "sqlite");
}

#[test]
fn two_that_migrate_at_once_both_succeed_and_apply_each_once() {
    for _ in 0..10 {
        let folder = Folder::new();
        let applied: usize = std::thread::scope(|scope| {
            let up = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(folder.store().migrate_up()).unwrap().len()
            };
            let both = [scope.spawn(up), scope.spawn(up)];
            both.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(applied, MIGRATIONS.len());
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name_unless_it_says_that_this_version_can_work_with_it() {
    let (folder, store) = Folder::migrated().await;
    let newer = "INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (7, 'shards', ?1)";
    folder.shell().execute(newer, ["99.0.0"]).unwrap();
    for answer in [store.ensure_migrated().await, store.migrate_up().await.map(drop)] {
        let says = says(answer);
        assert!(says.contains("7 `shards`") && says.contains("99.0.0"), "{says}");
    }
    assert!(says(store.migrate_down().await).contains("`shards`"));

    folder
        .shell()
        .execute("UPDATE api_key_migrations SET oldest_binary = ?1 WHERE version = 7", [env!("CARGO_PKG_VERSION")])
        .unwrap();
    store.ensure_migrated().await.unwrap();
    assert_eq!(store.migration_status().await.unwrap().migrations[MIGRATIONS.len()].name, "shards");
}

#[tokio::test]
async fn tables_from_elsewhere_are_named_and_left_alone() {
    let folder = Folder::new();
    folder.shell().execute_batch("CREATE TABLE api_keys (mine TEXT); INSERT INTO api_keys VALUES ('precious')").unwrap();
    let says = says(folder.store().ensure_migrated().await);
    assert!(says.contains("table api_keys already exists") && says.contains("gateway.db"), "{says}");
    let mine: String = folder.shell().query_row("SELECT mine FROM api_keys", [], |row| row.get(0)).unwrap();
    assert_eq!(mine, "precious");
    assert_eq!(folder.store().migration_status().await.unwrap().migrations[0].applied_at, None);
}

#[tokio::test]
async fn a_file_applied_by_hand_is_known() {
    let folder = Folder::new();
    for migration in &MIGRATIONS {
        folder.shell().execute_batch(migration.up).unwrap();
    }
    assert_eq!(folder.store().migrate_up().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_said_so() {
    let folder = Folder::new();
    let store = SqliteStore::new(folder.file().join("below"), std::num::NonZeroUsize::MIN, Duration::from_secs(20));
    let answer = store.ensure_migrated().await;
    assert!(matches!(&answer, Err(StoreError::Unavailable(says)) if says.contains("its folder must exist")), "{answer:?}");
}

#[tokio::test]
async fn with_nothing_to_do_a_writer_is_not_waited_for() {
    let (folder, _) = Folder::migrated().await;
    let shell = folder.shell();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    folder.store_with_timeout(Duration::from_millis(500)).ensure_migrated().await.unwrap();
}
