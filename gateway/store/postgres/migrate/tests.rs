//! The tables in databases of a real server: made, taken back, newer than this version, from elsewhere.

use super::*;
use crate::store::Store;
use crate::store::testing::postgres_server::SHARED;
use crate::store::testing::postgres_store;

fn says(answer: Result<impl std::fmt::Debug, StoreError>) -> String {
    match answer {
        Err(StoreError::Schema(says)) => says,
        other => panic!("not refused for good: {other:?}"),
    }
}

#[test]
fn every_file_of_the_folder_is_embedded_and_records_itself() {
    migrations::tests::every_file_is_embedded_and_records_itself(&MIGRATIONS, "postgres");
}

#[tokio::test]
async fn up_makes_what_down_takes_back_wholly() {
    let database = SHARED.database();
    let store = postgres_store(&database.url());
    let nothing = store.migration_status().await.unwrap();
    assert_eq!((nothing.migrations[0].applied_at, nothing.api_keys), (None, None));
    assert_eq!(store.migrate_up().await.unwrap(), ["api_keys", "rotated_at", "api_key_events", "imported_keys", "key_networks"]);
    assert_eq!(store.migrate_up().await.unwrap(), [""; 0]);
    let status = store.migration_status().await.unwrap();
    assert!(status.migrations[0].applied_at.is_some());
    assert_eq!((status.api_keys, status.api_key_usage), (Some(0), Some(0)));
    assert_eq!(
        store.migrate_down().await.unwrap(),
        ["key_networks", "imported_keys", "api_key_events", "rotated_at", "api_keys"]
    );
    assert_eq!(store.migrate_down().await.unwrap(), [""; 0]);
    assert_eq!(store.migration_status().await.unwrap(), nothing);
    let left = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace) \
                + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace)";
    assert_eq!(database.sql(left), "0");
    store.migrate_up().await.unwrap();
    store.ensure_migrated().await.unwrap();
}

#[tokio::test]
async fn two_that_migrate_at_once_both_succeed_and_apply_each_once() {
    let database = SHARED.database();
    let (one, other) = (postgres_store(&database.url()), postgres_store(&database.url()));
    for _ in 0..5 {
        let (up, up_too) = tokio::join!(one.migrate_up(), other.migrate_up());
        assert_eq!(up.unwrap().len() + up_too.unwrap().len(), MIGRATIONS.len());
        let (down, down_too) = tokio::join!(one.migrate_down(), other.migrate_down());
        assert_eq!(down.unwrap().len() + down_too.unwrap().len(), MIGRATIONS.len());
    }
}

#[tokio::test]
async fn tables_that_nobody_made_are_not_made_by_the_way() {
    let database = SHARED.database();
    let store = postgres_store(&database.url());
    assert!(says(store.ensure_migrated().await).contains("migrate up"));
    assert_eq!(store.migration_status().await.unwrap().api_keys, None);
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name_unless_it_says_that_this_version_can_work_with_it() {
    let database = SHARED.database();
    let store = postgres_store(&database.url());
    store.migrate_up().await.unwrap();
    database.sql("INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (7, 'shards', '99.0.0')");
    for answer in [store.ensure_migrated().await, store.migrate_up().await.map(drop)] {
        let says = says(answer);
        assert!(says.contains("7 `shards`") && says.contains("99.0.0"), "{says}");
    }
    assert!(says(store.migrate_down().await).contains("`shards`"));
    database.sql(&format!("UPDATE api_key_migrations SET oldest_binary = '{}' WHERE version = 7", env!("CARGO_PKG_VERSION")));
    store.ensure_migrated().await.unwrap();
}

#[tokio::test]
async fn tables_from_elsewhere_are_named_and_left_alone() {
    let database = SHARED.database();
    database.sql("CREATE TABLE api_keys (mine text); INSERT INTO api_keys VALUES ('precious')");
    let store = postgres_store(&database.url());
    let says = says(store.migrate_up().await);
    assert!(says.contains("\"api_keys\" already exists") && says.contains(database.name()), "{says}");
    assert_eq!(database.sql("SELECT mine FROM api_keys"), "precious");
    assert_eq!(store.migration_status().await.unwrap().migrations[0].applied_at, None);
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_told_what_to_grant() {
    let database = SHARED.database();
    SHARED.psql("postgres", "CREATE ROLE reader LOGIN");
    let url = database.url().replace("postgres@", "reader@");
    let says = says(postgres_store(&url).migrate_up().await);
    assert!(says.contains("`reader` may not create tables") && says.contains("GRANT CREATE"), "{says}");
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_text_is_refused_with_tables_and_without() {
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let database = SHARED.database_with(&format!("ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"));
        let store = postgres_store(&database.url());
        let of_up = says(store.migrate_up().await);
        assert!(of_up.contains(encoding) && of_up.contains("ENCODING 'UTF8'"), "{of_up}");
        assert_eq!(database.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0");
        database.sql(MIGRATIONS[0].up);
        assert_eq!(says(store.ensure_migrated().await), of_up);
        assert_eq!(store.migrate_down().await.unwrap(), ["api_keys"], "they can be taken back");
    }
}

#[tokio::test]
async fn a_file_applied_by_hand_is_known() {
    let database = SHARED.database();
    for migration in &MIGRATIONS {
        database.sql(migration.up);
    }
    let store = postgres_store(&database.url());
    store.ensure_migrated().await.unwrap();
    assert_eq!(store.migrate_up().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_guides_statements_run_unchanged() {
    let database = SHARED.database();
    let store: Store = postgres_store(&database.url());
    store.migrate_up().await.unwrap();
    database.sql(
        "SELECT k.name, k.user_id, COUNT(u.id) as request_count, AVG(u.response_time_ms) as avg_response_time
         FROM api_keys k JOIN api_key_usage u ON k.key_id = u.api_key_id
         WHERE u.timestamp > NOW() - INTERVAL '24 hours'
         GROUP BY k.key_id, k.name, k.user_id ORDER BY request_count DESC LIMIT 10;
         UPDATE api_keys SET is_active = FALSE WHERE expires_at < NOW() AND is_active = TRUE;
         DELETE FROM api_key_usage WHERE timestamp < NOW() - INTERVAL '30 days';",
    );
}
