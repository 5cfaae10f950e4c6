//! Secrets delivered as files, one for each key.
//!
//! What must stay true here: a file is there whole or not at all, is never open to anybody but its owner, and is nobody else's
//! to place: it is made under a name that nothing has yet, without following a link, and then takes the place of the one before.

use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::NamedTempFile;

use crate::cli::failure::Advice;
use crate::model::ids::KeyId;

/// What of a key's id stands in the name of its file as it is. Ids that plain SQL brought may hold anything, `../` too.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');
/// Whoever else may write to the folder could put their own file in the place of one.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const ROOT: u32 = 0;

pub struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// When it is missing, cannot be written to, or somebody else could write to it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let folder = Self(path.to_owned());
        let found = fs::metadata(path).map_err(|error| refusal(path, &format!("cannot be looked at: {error}")))?;
        if !found.is_dir() {
            return Err(refusal(path, "is no folder"));
        }
        let trial = folder.nameless()?;
        if is_open_to_others(&found, &trial.as_file().metadata()?) {
            return Err(refusal(path, "can be written to by others, who could put their own file in the place of a key's"));
        }
        Ok(folder)
    }

    /// On the disk once this returns, in the place of what was delivered for the key before.
    pub fn put(&self, key_id: &KeyId, json: &[u8]) -> anyhow::Result<()> {
        let path = self.0.join(format!("{}.json", utf8_percent_encode(key_id.as_str(), PLAIN)));
        let mut file = self.nameless()?;
        let writing = || format!("cannot write {}", path.display());
        file.write_all(json).with_context(writing)?;
        file.as_file().sync_all().with_context(writing)?;
        file.persist(&path).map_err(|refused| refused.error).with_context(writing)?;
        File::open(&self.0).and_then(|folder| folder.sync_all()).with_context(writing)
    }

    /// Mode 0600, exclusively made; gone again unless it is given its name.
    fn nameless(&self) -> anyhow::Result<NamedTempFile> {
        let made = tempfile::Builder::new().prefix(".rotated-").tempfile_in(&self.0);
        made.with_context(|| format!("cannot write into {}", self.0.display()))
    }
}

/// `own` is a file that we made.
fn is_open_to_others(folder: &Metadata, own: &Metadata) -> bool {
    folder.mode() & WRITABLE_BY_OTHERS != 0 || ![own.uid(), ROOT].contains(&folder.uid())
}

fn refusal(path: &Path, says: &str) -> anyhow::Error {
    let says = format!("{} {says}; nothing was rotated", path.display());
    Advice { says, hint: "make it with `install -d -m 700 FOLDER`, as the user who runs this".to_owned() }.into()
}
