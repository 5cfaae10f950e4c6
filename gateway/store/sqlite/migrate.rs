//! The tables: brought up, taken down, looked at. The statements stand in `sql/sqlite/`, and each file records itself.
//!
//! What must stay true here: a migration is applied wholly or not at all, and once, whoever else migrates at the same time.

use std::io::ErrorKind;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::connections::SqliteStore;
use crate::model::timestamp::Timestamp;
use crate::store::migrations::{self, Migration, Recorded, is_recorded};
use crate::store::{MigrationStatus, StoreError};

/// In order. A new one is a pair of files and an entry here.
static MIGRATIONS: [Migration; 5] = [
    Migration {
        version: 1,
        name: "api_keys",
        up: include_str!("../../../sql/sqlite/0001_api_keys.up.sql"),
        down: include_str!("../../../sql/sqlite/0001_api_keys.down.sql"),
    },
    Migration {
        version: 2,
        name: "rotated_at",
        up: include_str!("../../../sql/sqlite/0002_rotated_at.up.sql"),
        down: include_str!("../../../sql/sqlite/0002_rotated_at.down.sql"),
    },
    Migration {
        version: 3,
        name: "api_key_events",
        up: include_str!("../../../sql/sqlite/0003_api_key_events.up.sql"),
        down: include_str!("../../../sql/sqlite/0003_api_key_events.down.sql"),
    },
    Migration {
        version: 4,
        name: "imported_keys",
        up: include_str!("../../../sql/sqlite/0004_imported_keys.up.sql"),
        down: include_str!("../../../sql/sqlite/0004_imported_keys.down.sql"),
    },
    Migration {
        version: 5,
        name: "key_networks",
        up: include_str!("../../../sql/sqlite/0005_key_networks.up.sql"),
        down: include_str!("../../../sql/sqlite/0005_key_networks.down.sql"),
    },
];

impl SqliteStore {
    /// Makes the database and its tables if they are not there. Asks for no lock when there is nothing to do.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when the tables are from elsewhere or too new: waiting does not help.
    pub async fn ensure_migrated(&self) -> Result<(), StoreError> {
        let recorded = self.recorded_migrations().await?;
        refuse_newer(&recorded, self.file())?;
        match MIGRATIONS.iter().all(|migration| is_recorded(&recorded, migration)) {
            true => Ok(()),
            false => self.migrate_up().await.map(drop),
        }
    }

    /// Applies what is missing, making the database if there is none. Returns the names of what was applied.
    ///
    /// # Errors
    /// As [`ensure_migrated`](Self::ensure_migrated). Migrations applied before the failing one stay.
    pub async fn migrate_up(&self) -> Result<Vec<&'static str>, StoreError> {
        self.make_file().await?;
        let mut applied = Vec::new();
        for migration in &MIGRATIONS {
            let file = self.file().to_owned();
            if self.overhaul(move |connection| apply(connection, migration, &file)).await?? {
                applied.push(migration.name);
            }
        }
        Ok(applied)
    }

    /// Takes back every migration, and with it every key and all usage. Returns the names of what was taken back.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when a newer version applied one that this version cannot take back.
    pub async fn migrate_down(&self) -> Result<Vec<&'static str>, StoreError> {
        let recorded = self.recorded_migrations().await?;
        let mut taken_back = Vec::new();
        for migration in migrations::to_take_back(&MIGRATIONS, &recorded)? {
            self.overhaul(|connection| take_back(connection, migration)).await?;
            taken_back.push(migration.name);
        }
        Ok(taken_back)
    }

    /// Every migration known to this version or to the database, in order.
    pub async fn migration_status(&self) -> Result<MigrationStatus, StoreError> {
        let recorded = self.recorded_migrations().await?;
        if recorded.is_empty() {
            return Ok(MigrationStatus {
                migrations: migrations::states(&MIGRATIONS, &recorded),
                api_keys: None,
                api_key_usage: None,
            });
        }
        let (api_keys, api_key_usage) = self
            .report(|connection| {
                let count = |table| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
                Ok((count("api_keys")?, count("api_key_usage")?))
            })
            .await?;
        Ok(MigrationStatus {
            migrations: migrations::states(&MIGRATIONS, &recorded),
            api_keys: Some(api_keys),
            api_key_usage: Some(api_key_usage),
        })
    }

    async fn recorded_migrations(&self) -> Result<Vec<Recorded>, StoreError> {
        match tokio::fs::try_exists(self.file()).await {
            Ok(false) => Ok(Vec::new()),
            _ => self.read(|connection| recorded(connection)).await,
        }
    }

    /// Readable by nobody else: it holds the hashes of keys, and who has one. SQLite makes its companion files alike.
    async fn make_file(&self) -> Result<(), StoreError> {
        let made = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.file()).await;
        match made {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(StoreError::Unavailable(format!(
                "cannot make database {}: {error}; its folder must exist and be writable for this user",
                self.file().display()
            ))),
        }
    }
}

/// Whether it was not there before. The transaction holds the write lock from its start, so that a second one waits and then
/// finds it recorded.
fn apply(connection: &mut Connection, migration: &Migration, file: &Path) -> rusqlite::Result<Result<bool, StoreError>> {
    let transaction = connection.transaction()?;
    let recorded = recorded(&transaction)?;
    if let Err(refusal) = refuse_newer(&recorded, file) {
        return Ok(Err(refusal));
    }
    if is_recorded(&recorded, migration) {
        return Ok(Ok(false));
    }
    match transaction.execute_batch(migration.up) {
        Err(rusqlite::Error::SqliteFailure(_, Some(says))) if says.ends_with("already exists") => {
            return Ok(Err(StoreError::Schema(format!(
                "{says} in {}, but not from this program; rename it, or name another database in `store.url`",
                file.display()
            ))));
        }
        outcome => outcome?,
    }
    transaction.commit()?;
    Ok(Ok(true))
}

fn take_back(connection: &mut Connection, migration: &Migration) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(migration.down)?;
    transaction.commit()
}

fn recorded(connection: &Connection) -> rusqlite::Result<Vec<Recorded>> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'api_key_migrations'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(Vec::new());
    }
    connection
        .prepare("SELECT version, name, oldest_binary, applied_at FROM api_key_migrations ORDER BY version")?
        .query_map([], |row| {
            let applied_at = Timestamp::parse(&row.get::<_, String>(3)?).unwrap_or_default();
            Ok(Recorded { version: row.get(0)?, name: row.get(1)?, oldest_binary: row.get(2)?, applied_at })
        })?
        .collect()
}

fn refuse_newer(recorded: &[Recorded], file: &Path) -> Result<(), StoreError> {
    migrations::refuse_newer(&MIGRATIONS, recorded, &file.display().to_string())
}

#[cfg(test)]
mod tests;
