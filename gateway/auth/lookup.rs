//! Finds the key behind a hash: in memory, else in Redis where gateways share one, else in the store.
//!
//! What must stay true here:
//! - One question per key is under way at a time; it goes on when the request that began it leaves.
//! - A change that is heard of while a question is under way voids its answer: it is asked again. So a slow read that began
//!   before a revocation cannot bring the key back.
//! - At `cache_ttl` a key is asked for again in the background and serves on meanwhile. It stops serving, and waits for an
//!   answer, once the store has been out of contact for `stale_if_error`.
//! - Once the changes could not be followed for a while, every key held is in doubt: it is asked for again and the answer waited
//!   for, but not for long, and not by each request anew. A store that does not answer leaves the key as it was, within
//!   `stale_if_error`, until it does.
//! - A key of which only a bcrypt hash is known becomes one like any other when it is first used ([`first_use`]).
//! - Unknown hashes are remembered apart from known keys, so that a flood of made-up ones pushes out no real one; and the store is
//!   asked for them at a fixed rate at most. Beyond it nobody can say whether a key exists: that is no 401.

mod ask;
mod first_use;
mod flights;
mod guesses;
mod hashed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::timeout_at;

use self::first_use::FirstUse;
use self::flights::Flights;
use self::guesses::Guesses;
use self::hashed::{HashCache, cache};
use super::known_key::{KnownKey, SharedKey};
use super::shared_cache::SharedCache;
use crate::clock::{self, millis};
use crate::config;
use crate::drain::Tasks;
use crate::limits::Limiter;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::observe::metrics::{Layer, LookupResult, Metrics};
use crate::observe::seldom::Seldom;
use crate::store::{ForeignKeys, Store, StoreError};

/// How long an unknown key is remembered. Short: a key made by another process is heard of by the change log, but a lost
/// memory must heal by itself. Milliseconds.
const UNKNOWN_TTL: u64 = 10_000;
/// How many unknown keys are remembered.
const UNKNOWN_CAPACITY: usize = 65_536;
/// Changes are followed several times a second; contact this old is as good as none. Milliseconds.
const CONTACT_SLACK: u64 = 2_000;
/// How long after the question requests wait for word on a key in doubt. With what the hour's limit may cost then, less than a
/// known key may wait: 250 ms.
const DOUBT_WAITS: Duration = Duration::from_millis(50);

type Answer = Result<Option<SharedKey>, StoreError>;

pub struct Lookup {
    known: HashCache<SharedKey>,
    /// With the end of their time.
    unknown: HashCache<u64>,
    guesses: Guesses,
    /// Look-ups that were too many.
    flood: Seldom,
    /// Look-ups that had no answer.
    unanswered: Seldom,
    flights: Flights,
    foreign: AtomicBool,
    /// Whether there may be keys of which only a bcrypt hash is known.
    awaiting_first_use: AtomicBool,
    first_use: FirstUse,
    contact: AtomicU64,
    /// Keys confirmed until then are in doubt.
    doubted: AtomicU64,
    started: Instant,
    /// Milliseconds, as the next one.
    cache_ttl: AtomicU64,
    stale_if_error: AtomicU64,
    shared: Option<Arc<SharedCache>>,
    store: Store,
    limiter: Arc<Limiter>,
    metrics: Arc<Metrics>,
    background: Handle,
    tasks: Tasks,
}

impl Lookup {
    /// `background` is where questions run; `tasks` owns them.
    pub fn new(
        rules: &config::Keys,
        shared: Option<Arc<SharedCache>>,
        store: Store,
        limiter: Arc<Limiter>,
        metrics: Arc<Metrics>,
        background: Handle,
        tasks: Tasks,
    ) -> Arc<Self> {
        Arc::new(Self {
            known: cache(rules.cache_capacity.get()),
            unknown: cache(UNKNOWN_CAPACITY),
            guesses: Guesses::new(),
            flood: Seldom::default(),
            unanswered: Seldom::default(),
            flights: Flights::default(),
            // Until the store has said otherwise, any key may be one from elsewhere.
            foreign: AtomicBool::new(true),
            awaiting_first_use: AtomicBool::new(true),
            first_use: FirstUse::new(store.clone(), Arc::clone(&metrics), background.clone()),
            contact: AtomicU64::new(0),
            doubted: AtomicU64::new(0),
            started: clock::monotonic(),
            cache_ttl: AtomicU64::new(millis(rules.cache_ttl)),
            stale_if_error: AtomicU64::new(millis(rules.stale_if_error)),
            shared,
            store,
            limiter,
            metrics,
            background,
            tasks,
        })
    }

    /// These times hold from now on, for keys that are held already too.
    pub fn renew(&self, rules: &config::Keys) {
        self.cache_ttl.store(millis(rules.cache_ttl), Ordering::Relaxed);
        self.stale_if_error.store(millis(rules.stale_if_error), Ordering::Relaxed);
        self.shared.iter().for_each(|shared| shared.renew(rules));
    }

    /// Of a key and its hash, where it is held and in no doubt.
    pub fn at_hand(self: &Arc<Self>, hash: &KeyHash, key: &[u8], now: Instant) -> Option<SharedKey> {
        let now = self.millis_at(now);
        let known = self.known.get(hash).filter(|known| self.may_serve(known, now))?;
        if known.confirmed_at() <= self.doubted.load(Ordering::Acquire) {
            return None;
        }
        self.metrics.lookup(Layer::Memory, LookupResult::Hit);
        if now > known.confirmed_at() + self.cache_ttl.load(Ordering::Relaxed) && known.begin_refresh(now) {
            drop(self.ask(*hash, key));
        }
        Some(known)
    }

    /// Of a key and its hash. `None`: there is no such key.
    ///
    /// # Errors
    /// The store had to be asked and could not be.
    pub async fn find(self: &Arc<Self>, hash: KeyHash, key: &[u8], now: Instant) -> Answer {
        if let Some(known) = self.at_hand(&hash, key, now) {
            return Ok(Some(known));
        }
        let now = self.millis_at(now);
        match self.known.get(&hash) {
            Some(doubted) if self.may_serve(&doubted, now) => return self.resolve(hash, key, doubted).await,
            None if self.unknown.get(&hash).is_some_and(|end| now < end) => {
                self.metrics.lookup(Layer::Memory, LookupResult::Hit);
                return Ok(None);
            }
            Some(_) | None => {}
        }
        self.metrics.lookup(Layer::Memory, LookupResult::Miss);
        self.guess(hash, key, now).await
    }

    /// Whether keys without our checksum can exist at all.
    pub fn store_has_foreign_keys(&self) -> bool {
        self.foreign.load(Ordering::Relaxed)
    }

    /// What the store says; `None` while it has not said so since the last change: there may be any.
    pub(super) fn set_foreign(&self, keys: Option<ForeignKeys>) {
        self.foreign.store(keys.is_none_or(|keys| keys.exist), Ordering::Relaxed);
        self.awaiting_first_use.store(keys.is_none_or(|keys| keys.awaiting_first_use > 0), Ordering::Relaxed);
    }

    /// Every change until then is known here.
    pub(super) fn in_contact(&self, then: Instant) {
        self.contact.store(self.millis_at(then), Ordering::Relaxed);
    }

    /// Forgets what was changed.
    pub(super) fn forget(&self, hash: &KeyHash) {
        self.flights.void(hash, || {
            self.known.remove(hash);
            self.unknown.remove(hash);
        });
    }

    /// Forgets every secret of a key. Looks at all that is held.
    pub(super) fn forget_key(&self, key_id: &KeyId) {
        self.flights.void_all(|| self.known.retain(|_, known| known.key_id() != key_id));
    }

    /// Any secret that was unknown may be one now.
    pub(super) fn forget_unknown(&self) {
        self.flights.void_all(|| self.unknown.clear());
    }

    /// Anything may have been changed.
    pub(super) fn doubt_all(&self) {
        self.flights.void_all(|| {
            self.doubted.store(self.now(), Ordering::Release);
            self.unknown.clear();
        });
    }

    /// What is said of a key that may not exist, unless too many of those were asked for.
    async fn guess(self: &Arc<Self>, hash: KeyHash, key: &[u8], now: u64) -> Answer {
        if !self.guesses.take(now) {
            if let Some(times) = self.flood.note(clock::monotonic()) {
                tracing::warn!(times, "keys were not looked up: too many that do not exist are asked for");
            }
            return Err(StoreError::Unavailable("too many keys that do not exist are asked for".into()));
        }
        let answer = self.ask(hash, key).landed().await;
        if !matches!(answer, Ok(None)) {
            self.guesses.give_back();
        }
        answer
    }

    /// What the store says of a key in doubt; the key as it was where the store cannot say.
    async fn resolve(self: &Arc<Self>, hash: KeyHash, key: &[u8], known: SharedKey) -> Answer {
        self.metrics.lookup(Layer::Memory, LookupResult::Miss);
        let passenger = self.ask(hash, key);
        match timeout_at((passenger.asked_at + DOUBT_WAITS).into(), passenger.landed()).await {
            Err(_) | Ok(Err(StoreError::Unavailable(_) | StoreError::Timeout(_) | StoreError::Schema(_))) => Ok(Some(known)),
            Ok(answer) => answer,
        }
    }

    /// Serves on while the store was in contact within `stale_if_error`, whether by the change log or by an answer on this key.
    fn may_serve(&self, known: &KnownKey, now: u64) -> bool {
        let contact = self.contact.load(Ordering::Relaxed);
        let stale_if_error = self.stale_if_error.load(Ordering::Relaxed);
        let cut_off = now > contact.max(known.confirmed_at()) + stale_if_error + CONTACT_SLACK;
        let cache_ttl = self.cache_ttl.load(Ordering::Relaxed);
        let unconfirmed = now > known.confirmed_at() + cache_ttl + stale_if_error + CONTACT_SLACK;
        !cut_off && !unconfirmed
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        self.millis_at(clock::monotonic())
    }

    fn millis_at(&self, instant: Instant) -> u64 {
        millis(instant.saturating_duration_since(self.started))
    }
}

#[cfg(test)]
mod tests;
