//! How a new secret reaches its owner with nobody there to read it.

use std::path::Path;

use zeroize::Zeroizing;

use super::Rotated;
use super::folder::Folder;
use super::program::Program;
use crate::keyring::RotatedKey;

pub enum Delivery {
    Folder(Folder),
    Program(Program),
}

impl Delivery {
    /// Of whichever is asked for; at most one is.
    ///
    /// # Errors
    /// When nothing could be delivered that way.
    pub fn open(folder: Option<&Path>, program: Option<&Path>) -> anyhow::Result<Option<Self>> {
        Ok(match (folder, program) {
            (Some(folder), _) => Some(Self::Folder(Folder::open(folder)?)),
            (None, Some(program)) => Some(Self::Program(Program::find(program)?)),
            (None, None) => None,
        })
    }

    /// One line of JSON, as `keys rotate KEY_ID --json` prints it.
    pub async fn deliver(&self, rotated: &RotatedKey) -> anyhow::Result<()> {
        let mut json = Zeroizing::new(serde_json::to_vec(&Rotated::of(
            rotated.key.expose(),
            &rotated.record,
            rotated.previous_valid_until,
        ))?);
        json.push(b'\n');
        match self {
            Self::Folder(folder) => folder.put(&rotated.record.key_id, &json),
            Self::Program(program) => program.give(rotated, &json).await,
        }
    }
}
