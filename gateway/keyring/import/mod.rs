//! Keys brought from elsewhere: read, checked against each other and the store, and only then written.
//!
//! What must stay true here: while anything is wrong nothing is written. What the store has stays as it is, so that the same keys may
//! be imported again. No fault tells what stands in a field: a key may have got into the wrong one.

mod entry;
mod proof;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::Arc;

use crate::model::bcrypt_hash::TRIED;
use crate::model::ids::{KeyId, UserId};
use crate::model::timestamp::Timestamp;
use crate::store::{ImportedHash, ImportedKey, Presence, Store, StoreError};

pub use entry::{FIELDS, Fields};

/// Keys asked for or written at once: few enough that a gateway that wants to write waits some milliseconds only.
const BATCH: usize = 500;

/// What holds for keys that do not say it themselves.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `None`: each key has to say it.
    pub user_id: Option<UserId>,
    /// `None`: no limit.
    pub rate_limit_per_hour: Option<u64>,
    /// The configured `keys.prefix`.
    pub prefix: String,
    pub now: Timestamp,
}

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub line: u64,
    pub says: String,
}

/// All that was read.
#[derive(Debug)]
pub struct Import {
    defaults: Defaults,
    keys: Vec<ImportedKey>,
    /// The line of each of the keys.
    lines: Vec<u64>,
    faults: Vec<Fault>,
    /// In which line a secret or an id came first.
    hashes: HashMap<ImportedHash, u64>,
    ids: HashMap<KeyId, u64>,
    /// How many bcrypt hashes are found by this beginning.
    beginnings: HashMap<String, usize>,
}

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    pub new: Vec<ImportedKey>,
    pub already_there: usize,
    /// In the order of their lines. While there is any, nothing may be written.
    pub faults: Vec<Fault>,
}

impl Import {
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            keys: Vec::new(),
            lines: Vec::new(),
            faults: Vec::new(),
            hashes: HashMap::new(),
            ids: HashMap::new(),
            beginnings: HashMap::new(),
        }
    }

    /// Checks a key, and that none before it is the same.
    pub fn add(&mut self, line: u64, fields: Fields) {
        match entry::read(fields, &self.defaults) {
            Ok(key) => self.add_key(line, key),
            Err(faults) => faults.into_iter().for_each(|says| self.add_fault(line, says)),
        }
    }

    pub fn add_fault(&mut self, line: u64, says: String) {
        self.faults.push(Fault { line, says });
    }

    /// How many keys were understood.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.faults.is_empty()
    }

    /// What is wrong so far.
    #[cfg(test)]
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Asks the store what it has of these keys. `advanced` is told of how many it was asked.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn compare(self, store: &Store, advanced: impl Fn(usize)) -> Result<Plan, StoreError> {
        let mut plan = Plan { new: Vec::new(), already_there: 0, faults: self.faults };
        let mut lines = self.lines.into_iter();
        for batch in batches(self.keys) {
            let presences = store.presence_of(Arc::clone(&batch)).await?;
            for ((key, presence), line) in batch.iter().zip(presences).zip(&mut lines) {
                match presence {
                    Presence::New => plan.new.push(key.clone()),
                    Presence::There => plan.already_there += 1,
                    Presence::IdTaken => plan
                        .faults
                        .push(Fault { line, says: "key_id: the store has a key of this id with another secret".to_owned() }),
                }
            }
            advanced(batch.len());
        }
        plan.faults.sort();
        Ok(plan)
    }

    fn add_key(&mut self, line: u64, key: ImportedKey) {
        let faults = self.faults.len();
        if let Some(first) = came_before(&mut self.hashes, &key.hash, line) {
            self.add_fault(line, format!("the key is the same as in line {first}"));
        }
        if let Some(first) = came_before(&mut self.ids, &key.record.key_id, line) {
            self.add_fault(line, format!("key_id: the same as in line {first}"));
        }
        if key.record.awaits_first_use {
            let alike = self.beginnings.entry(key.record.key_prefix.clone()).or_default();
            *alike += 1;
            if *alike > TRIED {
                let says = format!("key_prefix: more than {TRIED} keys with a bcrypt hash begin alike; give more of each key");
                self.add_fault(line, says);
            }
        }
        if self.faults.len() == faults {
            self.keys.push(key);
            self.lines.push(line);
        }
    }
}

impl Plan {
    /// How many of the new keys are not known by their SHA-256 yet.
    pub fn awaiting_first_use(&self) -> usize {
        self.new.iter().filter(|key| key.record.awaits_first_use).count()
    }

    /// Writes the new keys, a batch at a time. `advanced` is told of how many. Returns how many were still new.
    ///
    /// # Errors
    /// The store could not be asked. Batches before stay written; the same import again goes on from there.
    pub async fn write(self, store: &Store, advanced: impl Fn(usize)) -> Result<usize, StoreError> {
        debug_assert!(self.faults.is_empty(), "what is wrong is not written");
        let mut written = 0;
        for batch in batches(self.new) {
            let size = batch.len();
            written += store.import_keys(batch).await?;
            advanced(size);
        }
        Ok(written)
    }
}

fn batches(keys: Vec<ImportedKey>) -> impl Iterator<Item = Arc<[ImportedKey]>> {
    let mut keys = keys.into_iter();
    std::iter::from_fn(move || {
        let batch: Vec<_> = keys.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then(|| batch.into())
    })
}

/// The line it came in first, if this one is another.
fn came_before<T: Clone + Eq + std::hash::Hash>(seen: &mut HashMap<T, u64>, what: &T, line: u64) -> Option<u64> {
    match seen.entry(what.clone()) {
        Place::Occupied(first) => Some(*first.get()),
        Place::Vacant(place) => {
            place.insert(line);
            None
        }
    }
}
