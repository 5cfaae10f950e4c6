//! The tables: brought up, taken down, looked at. The statements stand in `sql/postgres/`, and each file records itself.
//!
//! What must stay true here: a migration is applied wholly or not at all, and once, whoever else migrates at the same time. No
//! gateway makes tables by itself: they are shared, and their owner says when. And none works with a database that cannot keep
//! every text: one path with an odd letter would hold up all usage behind it.

use deadpool_postgres::{Client, GenericClient};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::errors::Failure;
use super::pool::PostgresStore;
use super::values::timestamp;
use crate::store::migrations::{self, Migration, Recorded, is_recorded};
use crate::store::{MigrationStatus, StoreError};

/// In order. A new one is a pair of files and an entry here.
static MIGRATIONS: [Migration; 5] = [
    Migration {
        version: 1,
        name: "api_keys",
        up: include_str!("../../../sql/postgres/0001_api_keys.up.sql"),
        down: include_str!("../../../sql/postgres/0001_api_keys.down.sql"),
    },
    Migration {
        version: 2,
        name: "rotated_at",
        up: include_str!("../../../sql/postgres/0002_rotated_at.up.sql"),
        down: include_str!("../../../sql/postgres/0002_rotated_at.down.sql"),
    },
    Migration {
        version: 3,
        name: "api_key_events",
        up: include_str!("../../../sql/postgres/0003_api_key_events.up.sql"),
        down: include_str!("../../../sql/postgres/0003_api_key_events.down.sql"),
    },
    Migration {
        version: 4,
        name: "imported_keys",
        up: include_str!("../../../sql/postgres/0004_imported_keys.up.sql"),
        down: include_str!("../../../sql/postgres/0004_imported_keys.down.sql"),
    },
    Migration {
        version: 5,
        name: "key_networks",
        up: include_str!("../../../sql/postgres/0005_key_networks.up.sql"),
        down: include_str!("../../../sql/postgres/0005_key_networks.down.sql"),
    },
];

/// Held by whoever migrates, until the end of the transaction. The number means nothing to anybody else.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(7305808869)";

impl PostgresStore {
    pub async fn ensure_migrated(&self) -> Result<(), StoreError> {
        self.read(async |client| self.refuse_other_than_utf8(client).await).await?;
        let recorded = self.read(async |client| recorded(client).await).await?;
        migrations::refuse_newer(&MIGRATIONS, &recorded, &self.url.address())?;
        match MIGRATIONS.iter().find(|migration| !is_recorded(&recorded, migration)) {
            None => Ok(()),
            Some(missing) => Err(StoreError::Schema(format!(
                "database {} lacks the tables of migration `{}`; make them with `hokusai-gateway migrate up`",
                self.url.address(),
                missing.name
            ))),
        }
    }

    pub async fn migrate_up(&self) -> Result<Vec<&'static str>, StoreError> {
        let mut applied = Vec::new();
        for migration in &MIGRATIONS {
            if self.overhaul(async |transaction| self.apply(transaction, migration).await).await? {
                applied.push(migration.name);
            }
        }
        Ok(applied)
    }

    pub async fn migrate_down(&self) -> Result<Vec<&'static str>, StoreError> {
        let recorded = self.read(async |client| recorded(client).await).await?;
        let mut taken_back = Vec::new();
        for migration in migrations::to_take_back(&MIGRATIONS, &recorded)? {
            if self.overhaul(async |transaction| take_back(transaction, migration).await).await? {
                taken_back.push(migration.name);
            }
        }
        Ok(taken_back)
    }

    pub async fn migration_status(&self) -> Result<MigrationStatus, StoreError> {
        let recorded = self.read(async |client| recorded(client).await).await?;
        let migrations = migrations::states(&MIGRATIONS, &recorded);
        if recorded.is_empty() {
            return Ok(MigrationStatus { migrations, api_keys: None, api_key_usage: None });
        }
        let count = "SELECT (SELECT count(*) FROM api_keys), (SELECT count(*) FROM api_key_usage)";
        let counts = self.report(async |client| Ok(client.query_one(count, &[]).await?)).await?;
        let count = |index| u64::try_from(counts.get::<_, i64>(index)).ok();
        Ok(MigrationStatus { migrations, api_keys: count(0), api_key_usage: count(1) })
    }

    /// Whether it was not there before.
    async fn apply(&self, transaction: &Client, migration: &Migration) -> Result<bool, Failure> {
        self.refuse_other_than_utf8(transaction).await?;
        transaction.execute(ONE_AT_A_TIME, &[]).await?;
        let recorded = recorded(transaction).await?;
        migrations::refuse_newer(&MIGRATIONS, &recorded, &self.url.address())?;
        if is_recorded(&recorded, migration) {
            return Ok(false);
        }
        transaction.batch_execute(migration.up).await.map_err(|error| self.cannot_make(error))?;
        Ok(true)
    }

    /// SQL_ASCII keeps bytes that are no text, the others lack most letters. An encoding is for good.
    async fn refuse_other_than_utf8(&self, client: &impl GenericClient) -> Result<(), Failure> {
        let encoding: String = client.query_one("SELECT current_setting('server_encoding')", &[]).await?.get(0);
        match encoding.as_str() {
            "UTF8" => Ok(()),
            _ => Err(Failure::Ours(StoreError::Schema(format!(
                "database {} is encoded in {encoding}, and keys and usage need UTF8; make another by CREATE DATABASE … ENCODING \
                 'UTF8' TEMPLATE template0, and name it in `store.url`",
                self.url.address()
            )))),
        }
    }

    fn cannot_make(&self, error: tokio_postgres::Error) -> Failure {
        let address = self.url.address();
        let Some(refusal) = error.as_db_error() else { return error.into() };
        let says = refusal.message();
        Failure::Ours(StoreError::Schema(match *refusal.code() {
            SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_FUNCTION | SqlState::DUPLICATE_OBJECT => {
                format!("{says} in {address}, but not from this program; rename it, or name another database in `store.url`")
            }
            SqlState::INSUFFICIENT_PRIVILEGE | SqlState::INVALID_SCHEMA_NAME => {
                let user = self.url.user();
                format!(
                    "user `{user}` may not create tables in {address}: {says}; let its owner run GRANT CREATE ON SCHEMA public \
                     TO \"{user}\", or migrate as the owner"
                )
            }
            _ => return error.into(),
        }))
    }
}

/// Whether it was still there.
async fn take_back(transaction: &Client, migration: &Migration) -> Result<bool, Failure> {
    transaction.execute(ONE_AT_A_TIME, &[]).await?;
    if !is_recorded(&recorded(transaction).await?, migration) {
        return Ok(false);
    }
    transaction.batch_execute(migration.down).await?;
    Ok(true)
}

async fn recorded(client: &impl GenericClient) -> Result<Vec<Recorded>, Failure> {
    // By the statement's own snapshot: to_regclass may answer from before a lock that was waited for.
    let is_there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class
        WHERE relname = 'api_key_migrations' AND pg_catalog.pg_table_is_visible(oid))";
    if !client.query_one(is_there, &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let sql = "SELECT version, name, oldest_binary, applied_at FROM api_key_migrations ORDER BY version";
    let row = |row: &Row| Recorded {
        version: u32::try_from(row.get::<_, i32>("version")).unwrap_or(u32::MAX),
        name: row.get("name"),
        oldest_binary: row.get("oldest_binary"),
        applied_at: timestamp(row.get("applied_at")),
    };
    match client.query(sql, &[]).await {
        Ok(rows) => Ok(rows.iter().map(row).collect()),
        // Somebody took all back in between.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            store.migrate_up().await.unwrap(),
            ["api_keys", "rotated_at", "api_key_events", "imported_keys", "key_networks"]
        );
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
}
