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
mod tests {
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

        assert_eq!(
            store.migrate_up().await.unwrap(),
            ["api_keys", "rotated_at", "api_key_events", "imported_keys", "key_networks"]
        );
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
}
