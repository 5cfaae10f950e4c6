//! Asks for a key: in Redis where gateways share one, else in the store.
//!
//! What must stay true here: what is kept was asked for after the last change of the key that was heard of.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::first_use::Credential;
use super::flights::Passenger;
use super::{Answer, Lookup, UNKNOWN_TTL};
use crate::auth::known_key::{KnownKey, SharedKey};
use crate::auth::shared_cache::{Finding, Place};
use crate::clock;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::FoundKey;
use crate::observe::metrics::{Layer, LookupResult};
use crate::store::StoreError;

impl Lookup {
    /// Joins the question on this key, or asks it.
    pub(super) fn ask(self: &Arc<Self>, hash: KeyHash, key: &[u8]) -> Passenger {
        let passenger = self.flights.join(hash);
        if passenger.is_first {
            let (lookup, credential) = (Arc::clone(self), Credential::new(key.to_vec()));
            self.tasks.spawn_on(&self.background, async move { lookup.fly(hash, &credential).await });
        }
        passenger
    }

    async fn fly(&self, hash: KeyHash, credential: &Credential) {
        loop {
            let (answer, to_share) = self.look_up(hash, credential).await;
            if !self.flights.land(&hash, &answer, || self.keep(hash, &answer)) {
                continue;
            }
            if let (Some(shared), Some((place, key))) = (&self.shared, to_share) {
                shared.fill(place, &key).await;
            }
            return;
        }
    }

    /// In Redis, else in the store; with what the store says where Redis has a place for it.
    async fn look_up(&self, hash: KeyHash, credential: &Credential) -> (Answer, Option<(Place, FoundKey)>) {
        let asked_at = self.now();
        let finding = match &self.shared {
            Some(shared) => shared.find(hash).await,
            None => Finding::Nothing,
        };
        let place = match finding {
            Finding::Key { key, age } => return (Ok(Some(self.prepare(&key, asked_at.saturating_sub(age)))), None),
            Finding::Place(place) => Some(place),
            Finding::Nothing => None,
        };
        match self.ask_store(hash, credential).await {
            Ok(Some((key, asked_at))) => (Ok(Some(self.prepare(&key, asked_at))), place.map(|place| (place, key))),
            Ok(None) => (Ok(None), None),
            Err(error) => (Err(error), None),
        }
    }

    /// The key, and when the store was asked for it.
    async fn ask_store(&self, hash: KeyHash, credential: &Credential) -> Result<Option<(FoundKey, u64)>, StoreError> {
        let mut asked_at = self.now();
        let mut answer = self.store.find_key(hash).await;
        if matches!(answer, Ok(None)) && self.awaiting_first_use.load(Ordering::Relaxed) {
            self.first_use.note(hash, credential).await?;
            // Whoever noted it: perhaps another gateway, since it was asked.
            asked_at = self.now();
            answer = self.store.find_key(hash).await;
        }
        let result = match &answer {
            Ok(Some(_)) => LookupResult::Hit,
            Ok(None) => LookupResult::Miss,
            Err(_) => LookupResult::Error,
        };
        self.metrics.lookup(Layer::Store, result);
        Ok(answer?.filter(|key| key.hash == hash).map(|key| (key, asked_at)))
    }

    fn keep(&self, hash: KeyHash, answer: &Answer) {
        match answer {
            Ok(Some(known)) => {
                self.known.insert(hash, known.clone());
            }
            Ok(None) => {
                self.known.remove(&hash);
                self.unknown.insert(hash, self.now() + UNKNOWN_TTL);
            }
            // Whoever makes up keys can cause it without end, while the store is away or bcrypt busy.
            Err(error) => {
                if let Some(times) = self.unanswered.note(clock::monotonic()) {
                    tracing::warn!(%error, times, "a key could not be looked up");
                }
            }
        }
    }

    fn prepare(&self, key: &FoundKey, asked_at: u64) -> SharedKey {
        SharedKey::new(KnownKey::new(key, || self.limiter.cell(&key.record.key_id), asked_at))
    }
}
