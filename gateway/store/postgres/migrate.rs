//! The tables: brought up, taken down, looked at. The statements stand in `sql/postgres/`, and each file records itself.
//!
//! What must stay true here: a migration is applied wholly or not at all, and once, whoever else migrates at the same time. No
//! gateway makes tables by itself: they are shared, and their owner says when.

use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::errors::Failure;
use super::pool::PostgresStore;
use super::values::timestamp;
use crate::store::migrations::{self, Migration, Recorded, is_recorded};
use crate::store::{MigrationStatus, StoreError};

/// In order. A new one is a pair of files and an entry here.
static MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "api_keys",
    up: include_str!("../../../sql/postgres/0001_api_keys.up.sql"),
    down: include_str!("../../../sql/postgres/0001_api_keys.down.sql"),
}];

/// Held by whoever migrates, until the end of the transaction. The number means nothing to anybody else.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(7305808869)";

impl PostgresStore {
    pub async fn ensure_migrated(&self) -> Result<(), StoreError> {
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
    async fn apply(&self, transaction: &Transaction<'_>, migration: &Migration) -> Result<bool, Failure> {
        transaction.execute(ONE_AT_A_TIME, &[]).await?;
        let recorded = recorded(transaction).await?;
        migrations::refuse_newer(&MIGRATIONS, &recorded, &self.url.address())?;
        if is_recorded(&recorded, migration) {
            return Ok(false);
        }
        transaction.batch_execute(migration.up).await.map_err(|error| self.cannot_make(error))?;
        Ok(true)
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
async fn take_back(transaction: &Transaction<'_>, migration: &Migration) -> Result<bool, Failure> {
    transaction.execute(ONE_AT_A_TIME, &[]).await?;
    if !is_recorded(&recorded(transaction).await?, migration) {
        return Ok(false);
    }
    transaction.batch_execute(migration.down).await?;
    Ok(true)
}

async fn recorded(client: &impl GenericClient) -> Result<Vec<Recorded>, Failure> {
    if !client.query_one("SELECT to_regclass('api_key_migrations') IS NOT NULL", &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let sql = "SELECT version, name, oldest_binary, applied_at FROM api_key_migrations ORDER BY version";
    let row = |row: &Row| Recorded {
        version: u32::try_from(row.get::<_, i32>("version")).unwrap_or(u32::MAX),
        name: row.get("name"),
        oldest_binary: row.get("oldest_binary"),
        applied_at: timestamp(row.get("applied_at")),
    };
    Ok(client.query(sql, &[]).await?.iter().map(row).collect())
}
