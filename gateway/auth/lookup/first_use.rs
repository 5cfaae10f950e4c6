//! The first use of a key that was brought from elsewhere as a bcrypt hash: who presents it proves it, and from then on it is known by
//! its SHA-256 like any other.
//!
//! What must stay true here:
//! - bcrypt is slow on purpose, and anybody can make up keys that begin like one. So one is verified at a time, beside the threads that
//!   serve requests; few wait for their turn, and none of them holds up a key that is known. Who finds no place is told so: that is no
//!   401.
//! - Of one key few hashes are tried. Where more begin like it and none of those matches, nobody can say whether it exists.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore};
use zeroize::Zeroizing;

use crate::model::bcrypt_hash::{BEGINNINGS, BcryptHash, LONGEST_KEY, TRIED};
use crate::model::key_hash::KeyHash;
use crate::observe::metrics::{Layer, LookupResult, Metrics};
use crate::store::{Store, StoreError};

/// Keys that are verified or wait for it.
const PLACES: usize = 32;

/// A presented key, wiped when it is dropped.
pub type Credential = Zeroizing<Vec<u8>>;

pub struct FirstUse {
    places: Semaphore,
    turn: Mutex<()>,
    store: Store,
    metrics: Arc<Metrics>,
    background: Handle,
}

impl FirstUse {
    pub fn new(store: Store, metrics: Arc<Metrics>, background: Handle) -> Self {
        Self { places: Semaphore::new(PLACES), turn: Mutex::default(), store, metrics, background }
    }

    /// If a bcrypt hash is of this key, the store knows it by `hash` afterwards.
    ///
    /// # Errors
    /// It could not be found out.
    pub async fn note(&self, hash: KeyHash, key: &Credential) -> Result<(), StoreError> {
        // Of a longer one bcrypt would not see the end.
        if key.len() > LONGEST_KEY {
            return Ok(());
        }
        let candidates = self.store.awaiting_first_use(&beginnings(key), TRIED + 1).await?;
        if candidates.is_empty() {
            return Ok(());
        }
        let proven = self.prove(key, candidates).await;
        self.metrics.lookup(
            Layer::Bcrypt,
            match &proven {
                Ok(Some(_)) => LookupResult::Hit,
                Ok(None) => LookupResult::Miss,
                Err(_) => LookupResult::Error,
            },
        );
        match proven? {
            Some(awaited) => self.store.note_first_use(&awaited, hash).await,
            None => Ok(()),
        }
    }

    /// The one that is of this key.
    async fn prove(&self, key: &Credential, candidates: Vec<BcryptHash>) -> Result<Option<BcryptHash>, StoreError> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(StoreError::Unavailable(format!("{PLACES} keys wait to be verified by bcrypt already")));
        };
        let _turn = self.turn.lock().await;
        let too_many = candidates.len() > TRIED;
        for candidate in candidates.into_iter().take(TRIED) {
            if self.is_of(&candidate, key).await? {
                return Ok(Some(candidate));
            }
        }
        match too_many {
            false => Ok(None),
            true => Err(StoreError::Unavailable(format!(
                "more than {TRIED} keys that await their first use begin alike; none of the first {TRIED} is the one presented"
            ))),
        }
    }

    async fn is_of(&self, candidate: &BcryptHash, key: &Credential) -> Result<bool, StoreError> {
        let (candidate, key) = (candidate.clone(), key.clone());
        let verified = self.background.spawn_blocking(move || candidate.is_of(&key)).await;
        verified.map_err(|_| StoreError::Unavailable("the gateway is shutting down".into()))
    }
}

/// Every way to begin that a `key_prefix` may name, less than the whole key. Nothing of what is no text.
fn beginnings(key: &[u8]) -> Vec<&str> {
    let text = str::from_utf8(key).unwrap_or_default();
    BEGINNINGS.filter(|&length| length < text.len()).filter_map(|length| text.get(..length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_begins_in_every_way_that_is_long_enough_and_not_all_of_it() {
        assert_eq!(beginnings(b"abcdef"), ["abcd", "abcde"]);
        assert!(beginnings(b"abcd").is_empty() && beginnings(b"").is_empty() && beginnings(&[0xff; 20]).is_empty());
        assert_eq!(beginnings(&[b'k'; 72]).last().map(|longest| longest.len()), Some(24));
    }
}
