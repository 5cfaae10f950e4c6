//! The folder on local disk for what must outlive the process: the usage journal and the spent parts of leases.
//!
//! What must stay true here: one process at a time works in a spool, and the spool keeps its name for as long as the
//! folder exists, because the store remembers under that name what it already has.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The file that holds the spool's name.
const ID: &str = "id";

/// An open spool. The folder is ours alone until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    id: String,
    /// The lock goes with the open file.
    _lock: File,
}

/// Why a spool cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the spool {0} is in use by another gateway: give each gateway its own `usage.spool`")]
    InUse(PathBuf),
    #[error("{0} does not hold the spool's UUID: put it back, or remove the file to give the spool a new name")]
    BadId(PathBuf),
    #[error("{0} is not a spool: it holds no file `id`")]
    NotASpool(PathBuf),
    #[error("the spool cannot be used, {path}: {error}; `usage.spool` must be a folder this user may write to")]
    Io { path: PathBuf, error: io::Error },
}

impl Spool {
    /// Opens the spool in `folder`, making the folder (mode 0700) and its id when they are not there.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        let io_at = |path: &Path| {
            let path = path.to_owned();
            |error| SpoolError::Io { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_at(folder))?;
        let lock = lock(folder)?;
        let id_path = folder.join(ID);
        let id = match std::fs::read_to_string(&id_path) {
            Ok(text) => Uuid::try_parse(text.trim()).map_err(|_| SpoolError::BadId(id_path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new_id(folder).map_err(io_at(&id_path))?,
            Err(error) => return Err(io_at(&id_path)(error)),
        };
        Ok(Self { folder: folder.to_owned(), id: id.to_string(), _lock: lock })
    }

    /// Opens a spool that another gateway has left. Makes none.
    pub fn open_left(folder: &Path) -> Result<Self, SpoolError> {
        match folder.join(ID).try_exists() {
            Ok(false) => Err(SpoolError::NotASpool(folder.to_owned())),
            _ => Self::open(folder),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A UUID: how the store knows this spool.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Makes a file that only this user may read and write. It must not exist.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes what was created, renamed or removed in `folder` outlive a loss of power.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn lock(folder: &Path) -> Result<File, SpoolError> {
    let path = folder.join("lock");
    let failed = |error| SpoolError::Io { path: path.clone(), error };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Written beside and renamed, so that a crash leaves a whole id or none.
fn new_id(folder: &Path) -> io::Result<Uuid> {
    let id = Uuid::new_v4();
    let beside = folder.join("id.new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(&beside)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join(ID))?;
    sync_folder(folder)?;
    Ok(id)
}

#[cfg(test)]
pub mod testing;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::testing::once_free;
    use super::*;

    #[test]
    fn a_second_gateway_on_the_same_spool_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Spool::open(folder.path()).unwrap();
        assert!(matches!(Spool::open(folder.path()), Err(SpoolError::InUse(path)) if path == folder.path()));
        drop(first);
        once_free(|| Spool::open(folder.path()));
    }

    #[test]
    fn a_spool_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let id = Spool::open(folder.path()).unwrap().id().to_owned();
        assert_eq!(once_free(|| Spool::open(folder.path())).id(), id);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Spool::open(other.path()).unwrap().id(), id);
    }

    #[test]
    fn a_crash_while_the_name_was_written_leaves_a_usable_spool() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("id.new"), "1234").unwrap();
        assert!(Spool::open(folder.path()).is_ok());
    }

    #[test]
    fn a_name_that_is_no_uuid_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("id"), "mine").unwrap();
        assert!(matches!(Spool::open(folder.path()), Err(SpoolError::BadId(_))));
        assert_eq!(std::fs::read_to_string(folder.path().join("id")).unwrap(), "mine");
    }

    #[test]
    fn a_folder_that_is_no_spool_is_not_made_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Spool::open_left(folder.path()), Err(SpoolError::NotASpool(path)) if path == folder.path()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let id = Spool::open(folder.path()).unwrap().id().to_owned();
        assert_eq!(once_free(|| Spool::open_left(folder.path())).id(), id);
    }

    #[test]
    fn nobody_else_may_look_into_a_spool() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("spool");
        let _spool = Spool::open(&folder).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("id")), 0o600);
        assert_eq!(mode(&folder.join("lock")), 0o600);
    }
}
