//! The second level of the key cache: records in Redis, which gateways share.
//!
//! What must stay true here: a record found in Redis is as good as one read from the store by this gateway at the same instant.
//! - **No slow read brings a key back.** A record is put only into a place that was given away *before* the store was asked, and a
//!   change takes the place back. So it does not matter how slow a read is: one that began before the change finds its place gone,
//!   one that began after it has read the change. No record ever replaces another.
//! - **Nothing is trusted from before this gateway listened.** A change reaches Redis a little after it was committed, and not at
//!   all while no gateway runs. So a gateway trusts only records whose reading of the store began, by Redis' clock, after it had
//!   begun to follow the changes: it hears of every change since by itself. When it loses the changes and follows them anew, that
//!   instant moves too. So it does when Redis may have forgotten the end of a record (a failover), then by [`CLOCKS_DIFFER`] more.
//! - **What was heard of here is asked of the store until Redis has confirmed that its record is gone.** When Redis does not
//!   confirm, nothing that is in it now is trusted any more.
//! - A gateway that hears of a change tells the others through Redis: one that is cut off from the store hears of it there.
//! - A key is named by its hash. Redis failing is no answer about a key: the store is asked.

mod record;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fred::interfaces::{EventInterface, PubsubInterface};
use futures_util::future::try_join_all;
use tokio::sync::broadcast::error::RecvError;

use crate::config;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::FoundKey;
use crate::observe::metrics::{Layer, LookupResult, Metrics};
use crate::redis::{Redis, RedisError};

const FIND: &str = include_str!("find.lua");
const FILL: &str = include_str!("fill.lua");
const FORGET: &str = include_str!("forget.lua");
/// How long a place is kept for who reads the store, in milliseconds. Who is slower has read for nobody else.
const PLACE_KEPT: u64 = 5_000;
/// How long after a change nobody else needs to tell of it, in milliseconds: gateways hear of it within a second.
const TOLD_FOR: u64 = 1_000;
/// How far the clocks of a Redis and its replica may be apart, in milliseconds.
const CLOCKS_DIFFER: u64 = 1_000;
/// Until a subscription that failed is tried again.
const SUBSCRIBE_AGAIN: Duration = Duration::from_millis(250);
/// Changes told of in one go.
const AT_ONCE: usize = 256;

pub struct SharedCache {
    redis: Arc<Redis>,
    metrics: Arc<Metrics>,
    /// Milliseconds.
    cache_ttl: AtomicU64,
    trust: Mutex<Trust>,
    /// Changed, and perhaps still in Redis as they were.
    doubtful: Mutex<HashSet<KeyHash>>,
}

/// Since when records are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trust {
    /// How often it began anew; 0: the changes are not followed yet.
    epoch: u64,
    /// Redis' memory that it holds for.
    memory: u64,
    /// Milliseconds of Redis' clock, once that was read.
    from: Option<u64>,
}

pub enum Finding {
    Key {
        key: Box<FoundKey>,
        /// Milliseconds since the store was asked.
        age: u64,
    },
    /// The store has to be asked; then the record can be put here.
    Place(Place),
    /// The store has to be asked.
    Nothing,
}

/// To be filled with what is read from the store from now on.
pub struct Place {
    hash: KeyHash,
    token: String,
    given_at: u64,
}

impl SharedCache {
    pub fn new(rules: &config::Keys, redis: Arc<Redis>, metrics: Arc<Metrics>) -> Self {
        let cache_ttl = AtomicU64::new(ttl_for_redis(rules));
        Self { redis, metrics, cache_ttl, trust: Mutex::default(), doubtful: Mutex::default() }
    }

    /// Records that are put from now on are kept this long.
    pub fn renew(&self, rules: &config::Keys) {
        self.cache_ttl.store(ttl_for_redis(rules), Ordering::Relaxed);
    }

    pub async fn find(&self, hash: KeyHash) -> Finding {
        let trust = self.trust();
        if trust.epoch == 0 || self.doubtful().contains(&hash) {
            return Finding::Nothing;
        }
        let token = format!("{:032x}", fastrand::u128(..));
        let from = trust.from.map_or_else(String::new, |from| from.to_string());
        let arguments = vec![token.clone(), PLACE_KEPT.to_string(), from];
        let reply = self.redis.run::<(u64, u8, String)>(FIND, self.place_of(hash), arguments).await;
        let (finding, result) = match reply {
            Ok((now, is_given, value)) => {
                self.begin_trust(trust, now);
                match self.known(hash, &value, now, trust) {
                    Some(known) => (known, LookupResult::Hit),
                    None if is_given == 1 => (Finding::Place(Place { hash, token, given_at: now }), LookupResult::Miss),
                    None => (Finding::Nothing, LookupResult::Miss),
                }
            }
            Err(_) => (Finding::Nothing, LookupResult::Error),
        };
        self.metrics.lookup(Layer::Redis, result);
        finding
    }

    /// Whoever cannot be told reads the store for itself.
    pub async fn fill(&self, place: Place, key: &FoundKey) {
        let arguments =
            vec![place.token, record::write(key), place.given_at.to_string(), self.cache_ttl.load(Ordering::Relaxed).to_string()];
        let _: Result<u8, RedisError> = self.redis.run(FILL, self.place_of(place.hash), arguments).await;
    }

    /// The changes are followed from now on, after they were not: nothing that is in Redis now is trusted.
    pub fn listens_anew(&self) {
        let mut trust = self.lock_trust();
        *trust = Trust { epoch: trust.epoch + 1, memory: self.redis.memory(), from: None };
    }

    /// A change was heard of. To be called before its record is forgotten elsewhere, and [`forget_changed`](Self::forget_changed)
    /// after.
    pub fn doubt(&self, hash: KeyHash) {
        self.doubtful().insert(hash);
    }

    /// What was changed goes from Redis, and the other gateways are told. If that cannot be confirmed, nothing is trusted that is
    /// in Redis now.
    pub async fn forget_changed(&self) {
        let changed: Vec<KeyHash> = self.doubtful().iter().copied().collect();
        for some in changed.chunks(AT_ONCE) {
            if try_join_all(some.iter().map(|hash| self.forget(*hash))).await.is_err() {
                self.listens_anew();
                break;
            }
        }
        let mut doubtful = self.doubtful();
        for hash in &changed {
            doubtful.remove(hash);
        }
    }

    /// Calls `heard` for each change that another gateway tells of; for `None` when some may have been missed. Never returns.
    pub async fn hear(&self, heard: impl Fn(Option<KeyHash>)) {
        let (client, channel) = (self.redis.client(), self.channel());
        let mut messages = client.message_rx();
        let mut subscribed_in = None;
        loop {
            let memory = self.redis.memory();
            if subscribed_in != Some(memory) && self.redis.ask(client.subscribe(&channel)).await.is_ok() {
                subscribed_in = Some(memory);
            }
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) => {
                        if let Some(hash) = message.value.as_str().as_deref().and_then(KeyHash::from_hex) {
                            heard(Some(hash));
                        }
                    }
                    Err(RecvError::Lagged(_)) => heard(None),
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                () = tokio::time::sleep(SUBSCRIBE_AGAIN) => {}
            }
        }
    }

    async fn forget(&self, hash: KeyHash) -> Result<(), RedisError> {
        let arguments = vec![self.channel(), hash.to_hex(), TOLD_FOR.to_string()];
        self.redis.run(FORGET, self.place_of(hash), arguments).await
    }

    /// A record, if what it was judged by still holds.
    fn known(&self, hash: KeyHash, value: &str, now: u64, judged_by: Trust) -> Option<Finding> {
        let (read_at, record) = value.split_once(' ')?;
        let key = record::read(record).filter(|key| key.hash == hash)?;
        let age = now.saturating_sub(read_at.parse().ok()?);
        (self.trust() == judged_by).then(|| Finding::Key { key: Box::new(key), age })
    }

    fn trust(&self) -> Trust {
        let mut trust = self.lock_trust();
        let memory = self.redis.memory();
        if trust.epoch > 0 && trust.memory != memory {
            *trust = Trust { epoch: trust.epoch + 1, memory, from: None };
        }
        *trust
    }

    /// `now` was read from Redis' clock after the trust had begun.
    fn begin_trust(&self, begun: Trust, now: u64) {
        let mut trust = self.lock_trust();
        if *trust == begun && begun.from.is_none() {
            trust.from = Some(now + CLOCKS_DIFFER);
        }
    }

    fn place_of(&self, hash: KeyHash) -> String {
        self.redis.key(&format!("key:{}", hash.to_hex()))
    }

    fn channel(&self) -> String {
        self.redis.key("changes")
    }

    fn lock_trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().expect("nothing panics while it holds the trust")
    }

    fn doubtful(&self) -> MutexGuard<'_, HashSet<KeyHash>> {
        self.doubtful.lock().expect("nothing panics while it holds the doubtful")
    }
}

/// Milliseconds; Redis takes no more than so many.
fn ttl_for_redis(rules: &config::Keys) -> u64 {
    u64::try_from(rules.cache_ttl.as_millis()).unwrap_or(u64::MAX).min(1 << 50)
}
