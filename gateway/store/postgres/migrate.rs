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
mod tests;
