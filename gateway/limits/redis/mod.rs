//! The hours' counts, where Redis is the authority over them: a hash for each key, changed by the scripts beside this file alone.
//!
//! What must stay true here:
//! - A gateway's field of an hour is changed by that gateway's questions alone, and `used` is the sum of all fields. A question
//!   has a number above every earlier one of its spool and is void once a later one was carried out: a Redis that was frozen may
//!   find both in its buffers, in either order.
//! - Each gateway keeps a copy of its fields and sends it along. Redis takes the copy where it remembers an older one: so what
//!   it forgot (a restart without persistence, a failover to a replica that lagged) is told again before more is taken.
//! - Once a gateway hears that Redis may have forgotten, it tells all its copies within a round, half a second. Until all have,
//!   Redis may grant what others had counted: the excess is at most what is admitted in that time, and what gateways had counted
//!   that never come back. Never more than the limit again.
//! - A key is on the list of its spool before a lease of it is spent, so that a killed gateway finds what it has to settle.
//!
//! The clock is Redis' own. A hash ends with its hour.

mod field;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use fred::interfaces::{KeysInterface, SetsInterface};
use futures_util::future::try_join_all;

use self::field::Field;
use super::fleet::Fleet;
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::lease::{Grant, LeaseAnswer, LeaseId, LeaseReply, LeaseReport, LeaseRequest, News, Report};
use crate::model::quota::HourWindow;
use crate::model::timestamp::Timestamp;
use crate::redis::{Redis, RedisError};

macro_rules! script {
    ($file:literal) => {
        concat!(include_str!("hour.lua"), include_str!($file))
    };
}

const LEASE: &str = script!("lease.lua");
const REPORT: &str = script!("report.lua");
const SHOW: &str = script!("show.lua");
const RESET: &str = script!("reset.lua");
const BEAT: &str = include_str!("beat.lua");
/// Numbers in scripts are floats: whole ones are exact up to this. No hour has as many requests.
const MAX_NUMBER: u64 = 1 << 53;
/// Scripts in one round trip: a few milliseconds for Redis.
const AT_ONCE: usize = 256;
/// Seconds that a spool's list of keys is kept: beyond its hour.
const LIST_KEPT: i64 = 2 * 3600;

#[derive(Debug)]
pub struct RedisHours {
    redis: Arc<Redis>,
    /// Of the fields, by key.
    copies: Mutex<HashMap<KeyId, Field>>,
    /// Redis' memory when it was last told every copy.
    told: AtomicU64,
    /// The hour that the copies of past ones were last dropped in.
    swept_in: AtomicU64,
}

/// What `lease.lua` returns.
type Told = (u8, u64, u64, u64, u8, String);

impl RedisHours {
    pub fn new(redis: Arc<Redis>) -> Self {
        let told = AtomicU64::new(redis.memory());
        Self { redis, copies: Mutex::default(), told, swept_in: AtomicU64::new(0) }
    }

    /// Takes back what the request returns, then grants what the hour allows, unless a later question of the same key and spool
    /// was carried out before. In one round trip.
    pub async fn lease(
        &self,
        key_id: &KeyId,
        spool_id: &str,
        id: LeaseId,
        request: LeaseRequest,
    ) -> Result<LeaseReply, RedisError> {
        let arguments = self.lease_arguments(key_id, spool_id, id, request);
        let (is_late, now, used, permits, others_hold, field) = self.ask(key_id, spool_id, arguments).await?;
        let field = self.keep(key_id, &field)?;
        if is_late == 1 {
            return Ok(LeaseReply::Late(LeaseId::from_number(field.number)));
        }
        let lease = (permits > 0).then_some(Grant { id, permits });
        let answer = LeaseAnswer { now: Timestamp::from_millis(now), used, lease, others_hold: others_hold == 1 };
        Ok(LeaseReply::Decided(answer))
    }

    /// Writes down what became of leases, and what was admitted without any; with neither, what this gateway remembers. Says of
    /// each whether its lease is wanted back.
    pub async fn settle(&self, spool_id: &str, news: &[News]) -> Result<Vec<bool>, RedisError> {
        let mut wanted_back = Vec::with_capacity(news.len());
        for some in news.chunks(AT_ONCE) {
            // All are sent at once, on the one connection.
            let replies = try_join_all(some.iter().map(|news| self.report(spool_id, news))).await?;
            wanted_back.extend(replies);
        }
        Ok(wanted_back)
    }

    /// What a gateway that was killed has to settle.
    pub async fn leases_of(&self, spool_id: &str) -> Result<Vec<(KeyId, Grant)>, RedisError> {
        let this_hour = this_hour();
        let mut keys = HashSet::new();
        for hour in this_hour - 1..=this_hour + 1 {
            let list = self.redis.client().smembers::<Vec<String>, _>(self.list_key(spool_id, hour));
            keys.extend(self.redis.ask(list).await?);
        }
        // What Redis remembers of them comes with the answers.
        let keys: Vec<News> = keys.into_iter().map(|key_id| (key_id.into(), Report::default())).collect();
        self.settle(spool_id, &keys).await?;
        Ok(keys.into_iter().filter_map(|(key_id, _)| self.own_lease(key_id)).collect())
    }

    /// The gateway lives. Tells Redis all again when it may have forgotten something. Returns the gateways that were last seen.
    pub async fn beat(&self, spool_id: &str) -> Result<Fleet, RedisError> {
        let gateways = self.redis.key("gateways");
        let (gateways, is_remembered): (Vec<String>, u8) = self.redis.run(BEAT, gateways, vec![spool_id.to_owned()]).await?;
        if is_remembered == 0 {
            self.redis.has_forgotten();
        }
        self.forget_past_hours();
        let memory = self.redis.memory();
        if memory != self.told.load(Ordering::Relaxed) {
            self.tell_copies(spool_id).await?;
            self.told.store(memory, Ordering::Relaxed);
        }
        Ok(Fleet::of(spool_id, gateways.iter().map(String::as_str)))
    }

    /// Now, and the requests admitted in this hour as far as gateways have told.
    pub async fn hour_usage(&self, key_id: &KeyId) -> Result<(Timestamp, u64), RedisError> {
        let (now, used) = self.redis.run(SHOW, self.hour_key(key_id), vec![]).await?;
        Ok((Timestamp::from_millis(now), used))
    }

    /// Starts the current hour of a key anew: every lease is void. The gateways have to be told.
    pub async fn reset_hour(&self, key_id: &KeyId) -> Result<(), RedisError> {
        self.redis.run(RESET, self.hour_key(key_id), vec![]).await
    }

    /// The key's hour was reset: what was counted before must not be told again.
    pub fn forget(&self, key_id: &KeyId) {
        self.copies().remove(key_id);
    }

    /// Puts the key on the spool's list first, if it may not stand there.
    async fn ask(&self, key_id: &KeyId, spool_id: &str, arguments: Vec<String>) -> Result<Told, RedisError> {
        let this_hour = this_hour();
        let is_listed = self.copies().get(key_id).is_some_and(|copy| copy.hour == this_hour);
        let lease = self.redis.run(LEASE, self.hour_key(key_id), arguments);
        if is_listed {
            return lease.await;
        }
        let (list, client) = (self.list_key(spool_id, this_hour), self.redis.client());
        let listed = self.redis.ask(client.sadd::<(), _, _>(&list, key_id.as_str()));
        let kept = self.redis.ask(client.expire::<(), _>(&list, LIST_KEPT, None));
        let ((), (), reply) = tokio::try_join!(listed, kept, lease)?;
        Ok(reply)
    }

    async fn report(&self, spool_id: &str, (key_id, report): &News) -> Result<bool, RedisError> {
        let arguments = self.report_arguments(key_id, spool_id, report);
        let (is_wanted_back, field): (u8, String) = self.redis.run(REPORT, self.hour_key(key_id), arguments).await?;
        self.keep(key_id, &field)?;
        Ok(is_wanted_back == 1)
    }

    fn lease_arguments(&self, key_id: &KeyId, spool_id: &str, id: LeaseId, request: LeaseRequest) -> Vec<String> {
        let ended = request.ended.unwrap_or(NO_LEASE);
        let (limit, wanted) = (request.limit.min(MAX_NUMBER), request.wanted.min(MAX_NUMBER));
        let (debt_hour, debt) = request.debt.map_or((0, 0), |debt| (debt.hour.number(), debt.requests));
        let is_spooled = u64::from(request.is_spooled);
        let numbers = [id.number(), limit, wanted, is_spooled, ended.id.number(), ended.spent, debt_hour, debt];
        self.arguments(key_id, spool_id, &numbers)
    }

    fn report_arguments(&self, key_id: &KeyId, spool_id: &str, report: &Report) -> Vec<String> {
        let lease = report.lease.unwrap_or(NO_LEASE);
        let (debt_hour, debt) = report.debt.map_or((0, 0), |debt| (debt.hour.number(), debt.requests));
        let numbers = [lease.id.number(), lease.spent, u64::from(lease.finished), debt_hour, debt];
        self.arguments(key_id, spool_id, &numbers)
    }

    /// The field's name and the copy of it first.
    fn arguments(&self, key_id: &KeyId, spool_id: &str, numbers: &[u64]) -> Vec<String> {
        let copy = self.copies().get(key_id).map(Field::to_string).unwrap_or_default();
        [spool_id.to_owned(), copy].into_iter().chain(numbers.iter().map(u64::to_string)).collect()
    }

    /// The lease that a killed gateway held.
    fn own_lease(&self, key_id: KeyId) -> Option<(KeyId, Grant)> {
        let field = *self.copies().get(&key_id).filter(|field| field.named && field.granted > 0)?;
        Some((key_id, Grant { id: LeaseId::from_number(field.number), permits: field.granted }))
    }

    async fn tell_copies(&self, spool_id: &str) -> Result<(), RedisError> {
        let news: Vec<News> = self.copies().keys().map(|key_id| (key_id.clone(), Report::default())).collect();
        self.settle(spool_id, &news).await.map(drop)
    }

    /// Redis' clock may be behind this one, so the last hour is kept.
    fn forget_past_hours(&self) {
        let this_hour = this_hour();
        if self.swept_in.swap(this_hour, Ordering::Relaxed) != this_hour {
            self.copies().retain(|_, copy| copy.hour + 1 >= this_hour);
        }
    }

    /// Answers may arrive in another order than they were given in.
    fn keep(&self, key_id: &KeyId, field: &str) -> Result<Field, RedisError> {
        let field = Field::parse(field).ok_or_else(|| RedisError::Failed("the hour of a key cannot be read".to_owned()))?;
        let mut copies = self.copies();
        match copies.get_mut(key_id) {
            Some(copy) if copy.is_later_than(&field) => {}
            Some(copy) => *copy = field,
            None => drop(copies.insert(key_id.clone(), field)),
        }
        Ok(field)
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<KeyId, Field>> {
        self.copies.lock().expect("nothing panics while it holds the copies")
    }

    fn hour_key(&self, key_id: &KeyId) -> String {
        self.redis.key(&format!("hour:{{{key_id}}}"))
    }

    /// The keys that leases of a spool were taken of, in an hour of the gateway's clock.
    fn list_key(&self, spool_id: &str, hour: u64) -> String {
        self.redis.key(&format!("leased:{{{spool_id}}}:{hour}"))
    }
}

const NO_LEASE: LeaseReport = LeaseReport { id: LeaseId::from_number(0), spent: 0, finished: false };

/// By the gateway's clock.
fn this_hour() -> u64 {
    HourWindow::containing(clock::now()).number()
}
