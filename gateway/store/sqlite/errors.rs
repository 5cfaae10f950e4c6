//! SQLite's errors as an operator needs them: which file, what is wrong, what to do.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// The transaction failed, the connection did not.
pub(super) fn leaves_the_connection_sound(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ConstraintViolation)
    )
}

pub(super) fn in_words(error: &rusqlite::Error, file: &Path) -> StoreError {
    let file = file.display();
    let Some(code) = error.sqlite_error_code() else {
        return StoreError::Schema(format!("database {file} holds what this version does not understand: {error}"));
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Unavailable(format!(
            "database {file} is locked by another connection; end the long transaction, backup or shell that holds it"
        )),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => StoreError::Unavailable(format!(
            "cannot open database {file}; it must exist (`migrate up` makes it), and the gateway's user must be able to \
             read and write it and its folder ({error})"
        )),
        ErrorCode::ReadOnly => StoreError::Unavailable(format!(
            "database {file} is read-only for the gateway; give its user permission to write the file and its folder"
        )),
        ErrorCode::DiskFull => {
            StoreError::Unavailable(format!("no space is left on the disk for database {file}; free some or move it"))
        }
        ErrorCode::SystemIoFailure => {
            StoreError::Unavailable(format!("the disk fails under database {file}: {error}; see the system's log"))
        }
        ErrorCode::NotADatabase => StoreError::Schema(format!("{file} is no SQLite database; check `store.url`")),
        ErrorCode::DatabaseCorrupt => {
            StoreError::Schema(format!("database {file} is damaged; restore it from a backup, or try `sqlite3 {file} .recover`"))
        }
        ErrorCode::ConstraintViolation => StoreError::Refused(format!("the tables do not allow it: {error}")),
        ErrorCode::Unknown => {
            StoreError::Schema(format!("the tables in {file} are not those of this version ({error}); run `migrate up`"))
        }
        _ => StoreError::Unavailable(format!("database {file} cannot be asked: {error}")),
    }
}
