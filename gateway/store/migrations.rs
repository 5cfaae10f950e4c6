//! What holds of migrations in every kind of store. The statements stand in `sql/`, and each file records itself.
//!
//! What must stay true here: tables that a newer version made are left alone unless that version said that this one can work
//! with them.

use super::{MigrationState, StoreError};
use crate::model::timestamp::Timestamp;

pub(super) struct Migration {
    pub version: u32,
    pub name: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

/// A row of `api_key_migrations`.
pub(super) struct Recorded {
    pub version: u32,
    pub name: String,
    /// The oldest version of this program that can work with the tables after it.
    pub oldest_binary: String,
    pub applied_at: Timestamp,
}

const THIS_BINARY: &str = env!("CARGO_PKG_VERSION");

pub(super) fn is_recorded(recorded: &[Recorded], migration: &Migration) -> bool {
    recorded.iter().any(|row| row.version == migration.version)
}

/// A newer version's migration is fine as long as it names this version, or an older one, as able to work with it.
///
/// # Errors
/// [`StoreError::Schema`] for the first that is not. `database` is its name for the operator.
pub(super) fn refuse_newer(known: &[Migration], recorded: &[Recorded], database: &str) -> Result<(), StoreError> {
    let too_new = |row: &&Recorded| is_newer(known, row) && numbers(&row.oldest_binary) > numbers(THIS_BINARY);
    match recorded.iter().find(too_new) {
        None => Ok(()),
        Some(row) => Err(StoreError::Schema(format!(
            "database {database} has migration {} `{}`, which needs hokusai-gateway {} or newer; this is {THIS_BINARY}: upgrade \
             it, or take the migration back with the newer version's `migrate down`",
            row.version, row.name, row.oldest_binary
        ))),
    }
}

/// What this version can take back, the newest first.
///
/// # Errors
/// [`StoreError::Schema`] when a newer version applied one that this version does not know.
pub(super) fn to_take_back(known: &'static [Migration], recorded: &[Recorded]) -> Result<Vec<&'static Migration>, StoreError> {
    match recorded.iter().find(|row| is_newer(known, row)) {
        None => Ok(known.iter().rev().filter(|migration| is_recorded(recorded, migration)).collect()),
        Some(row) => Err(StoreError::Schema(format!(
            "migration {} `{}` is from a newer version; take it back with that version's `migrate down`",
            row.version, row.name
        ))),
    }
}

/// Those that were applied and those that are missing, in order.
pub(super) fn states(known: &[Migration], recorded: &[Recorded]) -> Vec<MigrationState> {
    let applied =
        |row: &Recorded| MigrationState { version: row.version, name: row.name.clone(), applied_at: Some(row.applied_at) };
    let missing = known.iter().filter(|migration| !is_recorded(recorded, migration)).map(|migration| MigrationState {
        version: migration.version,
        name: migration.name.to_owned(),
        applied_at: None,
    });
    let mut all: Vec<_> = recorded.iter().map(applied).chain(missing).collect();
    all.sort_by_key(|state| state.version);
    all
}

fn is_newer(known: &[Migration], row: &Recorded) -> bool {
    known.iter().all(|migration| migration.version < row.version)
}

/// `1.20.3` as numbers, so that it compares as a version. What is no number compares as newer than any.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("0.10.0") > numbers("0.9.9"));
        assert!(numbers("1.0.0") > numbers("0.99.0"));
        assert!(numbers("someday") > numbers("1.0.0"));
    }

    /// `folder` is one of `sql/`.
    pub(in crate::store) fn every_file_is_embedded_and_records_itself(known: &[Migration], folder: &str) {
        let files = std::fs::read_dir(format!("{}/sql/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let mut files: Vec<String> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let named =
            |migration: &Migration| ["down", "up"].map(|way| format!("{:04}_{}.{way}.sql", migration.version, migration.name));
        assert_eq!(files, known.iter().flat_map(named).collect::<Vec<_>>());
        for migration in known {
            assert!(migration.up.contains(&format!("VALUES ({}, '{}', '", migration.version, migration.name)));
        }
    }
}
