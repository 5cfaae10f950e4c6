//! Keys brought from elsewhere, in the words of every kind of store.

use crate::model::bcrypt_hash::BcryptHash;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::KeyRecord;

/// A key that other tables had before.
#[derive(Clone, Debug)]
pub struct ImportedKey {
    pub hash: ImportedHash,
    /// Whether the key has our checksum, as far as that is known.
    pub minted: bool,
    pub record: KeyRecord,
}

/// What is known of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImportedHash {
    Sha256(KeyHash),
    Bcrypt(BcryptHash),
}

impl ImportedHash {
    /// As it stands in `api_keys.key_hash`.
    pub fn to_column(&self) -> String {
        match self {
            Self::Sha256(hash) => hash.to_hex(),
            Self::Bcrypt(hash) => hash.as_str().to_owned(),
        }
    }
}

/// What the store has of a key that is to be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    New,
    /// Its secret, as it was imported or as it is used now.
    There,
    /// Another key by the same id.
    IdTaken,
}

impl Presence {
    pub(super) fn of(has_secret: bool, has_id: bool) -> Self {
        match (has_secret, has_id) {
            (true, _) => Self::There,
            (false, true) => Self::IdTaken,
            (false, false) => Self::New,
        }
    }
}

/// The keys that were brought from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignKeys {
    /// Whether there is any, so that a secret without our checksum may be a key all the same.
    pub exist: bool,
    /// Those of which only a bcrypt hash is known, revoked ones aside.
    pub awaiting_first_use: u64,
}

/// A row of `api_keys` that is to be written.
pub(super) struct NewRow<'a> {
    pub key_hash: String,
    pub is_imported: bool,
    pub minted: bool,
    pub record: &'a KeyRecord,
}

impl<'a> NewRow<'a> {
    pub fn minted(hash: KeyHash, record: &'a KeyRecord) -> Self {
        Self { key_hash: hash.to_hex(), is_imported: false, minted: true, record }
    }

    pub fn imported(key: &'a ImportedKey) -> Self {
        Self { key_hash: key.hash.to_column(), is_imported: true, minted: key.minted, record: &key.record }
    }
}
