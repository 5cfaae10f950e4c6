//! What is known of a key's secret: itself, its SHA-256 or its bcrypt hash.
//!
//! What must stay true here: the key itself is hashed at once and wiped, and no more of it is kept than may be shown.

use zeroize::Zeroizing;

use super::entry::Entry;
use crate::model::api_key::{Form, shown_prefix};
use crate::model::bcrypt_hash::{BEGINNINGS, BcryptHash};
use crate::model::key_hash::KeyHash;
use crate::store::ImportedHash;

/// Characters of a key that its prefix must leave unknown, at least.
const HIDDEN: usize = 12;

pub(super) struct Proof {
    pub hash: ImportedHash,
    pub minted: bool,
    pub prefix: String,
}

impl Proof {
    pub fn is_bcrypt(&self) -> bool {
        matches!(self.hash, ImportedHash::Bcrypt(_))
    }
}

/// `None` where something is wrong with it. `our_prefix` is `keys.prefix`.
pub(super) fn read(entry: &mut Entry, our_prefix: &str) -> Option<Proof> {
    let key = entry.text("key").map(Zeroizing::new);
    let hash = entry.text("key_hash");
    let bcrypt = entry.text("bcrypt_hash");
    let prefix = entry.text("key_prefix");
    if prefix.as_deref().is_some_and(|prefix| !may_be_shown(prefix)) {
        entry.fault("key_prefix", &format!("must be at most {} visible ASCII characters", BEGINNINGS.end()));
        return None;
    }
    match (key, hash, bcrypt) {
        (Some(key), None, None) => of_key(entry, key.trim(), prefix, our_prefix),
        (None, Some(hash), None) if !BcryptHash::is_meant_by(hash.trim()) => of_sha256(entry, hash.trim(), prefix),
        // Earlier tables have either in the same column.
        (None, Some(hash), None) => of_bcrypt(entry, "key_hash", hash.trim(), prefix),
        (None, None, Some(hash)) => of_bcrypt(entry, "bcrypt_hash", hash.trim(), prefix),
        _ => {
            entry.fault("key", "exactly one of key, key_hash and bcrypt_hash is needed");
            None
        }
    }
}

fn may_be_shown(prefix: &str) -> bool {
    prefix.len() <= *BEGINNINGS.end() && prefix.bytes().all(|byte| byte.is_ascii_graphic())
}

fn of_key(entry: &mut Entry, key: &str, prefix: Option<String>, our_prefix: &str) -> Option<Proof> {
    let form = Form::of(key.as_bytes(), our_prefix);
    if form == Form::Malformed {
        entry.fault("key", "must be 16 to 512 visible ASCII characters");
        return None;
    }
    let prefix = prefix.unwrap_or_else(|| shown_prefix(key, our_prefix).to_owned());
    if !key.starts_with(&prefix) || key.len() - prefix.len() < HIDDEN {
        entry.fault("key_prefix", &format!("must be how the key begins, without its last {HIDDEN} characters at least"));
        return None;
    }
    let hash = ImportedHash::Sha256(KeyHash::of(key.as_bytes()));
    Some(Proof { hash, minted: form == Form::Ours, prefix })
}

fn of_sha256(entry: &mut Entry, hash: &str, prefix: Option<String>) -> Option<Proof> {
    let Some(hash) = KeyHash::from_hex(hash) else {
        entry.fault("key_hash", "must be a SHA-256 in 64 hex digits, or a bcrypt hash");
        return None;
    };
    let prefix = prefix.unwrap_or_default();
    if KeyHash::of(prefix.as_bytes()) == hash {
        entry.fault("key_prefix", "is the whole key");
        return None;
    }
    Some(Proof { hash: ImportedHash::Sha256(hash), minted: false, prefix })
}

fn of_bcrypt(entry: &mut Entry, name: &str, hash: &str, prefix: Option<String>) -> Option<Proof> {
    let hash = BcryptHash::parse(hash).map_err(|wrong| entry.fault(name, &wrong.to_string())).ok();
    let prefix = prefix.filter(|prefix| BEGINNINGS.contains(&prefix.len()) && !prefix.ends_with(['.', '*']));
    if prefix.is_none() {
        let (least, most) = (BEGINNINGS.start(), BEGINNINGS.end());
        entry.fault(
            "key_prefix",
            &format!("the first {least} to {most} characters of the key are needed: by them its bcrypt hash is found"),
        );
    }
    Some(Proof { hash: ImportedHash::Bcrypt(hash?), minted: false, prefix: prefix? })
}
