//! Questions under way: one for each key, whose answer goes to all who ask for that key meanwhile.
//!
//! What must stay true here: a change that is heard of while a question is under way voids its answer, and in the same step what is held
//! is forgotten. So no answer from before a change is kept after it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Answer;
use super::hashed::HashIsHashed;
use crate::clock;
use crate::model::key_hash::KeyHash;
use crate::store::StoreError;

#[derive(Default)]
pub struct Flights(Mutex<HashMap<KeyHash, Flight, HashIsHashed>>);

struct Flight {
    asked_at: Instant,
    /// A change was heard of since it was asked.
    voided: bool,
    waiters: Vec<oneshot::Sender<Answer>>,
}

/// One who waits for an answer.
pub struct Passenger {
    answer: oneshot::Receiver<Answer>,
    /// When the question was begun.
    pub asked_at: Instant,
    /// It is begun now: the one who has this must see to it that it is asked, and lands.
    pub is_first: bool,
}

impl Passenger {
    pub async fn landed(self) -> Answer {
        let gone = |_| Err(StoreError::Unavailable("the gateway is shutting down".into()));
        self.answer.await.unwrap_or_else(gone)
    }
}

impl Flights {
    /// Joins the question on this key, or begins it.
    pub fn join(&self, hash: KeyHash) -> Passenger {
        let (waiter, answer) = oneshot::channel();
        let mut under_way = self.under_way();
        let is_first = !under_way.contains_key(&hash);
        let begin = || Flight { asked_at: clock::monotonic(), voided: false, waiters: Vec::new() };
        let flight = under_way.entry(hash).or_insert_with(begin);
        flight.waiters.push(waiter);
        Passenger { answer, asked_at: flight.asked_at, is_first }
    }

    /// This key was changed.
    pub fn void(&self, hash: &KeyHash, forget: impl FnOnce()) {
        let mut under_way = self.under_way();
        if let Some(flight) = under_way.get_mut(hash) {
            flight.voided = true;
        }
        forget();
    }

    /// Any key may have been changed.
    pub fn void_all(&self, forget: impl FnOnce()) {
        let mut under_way = self.under_way();
        under_way.values_mut().for_each(|flight| flight.voided = true);
        forget();
    }

    /// Has the answer kept and tells it to all who wait. False: it is void, and must be asked for again.
    pub fn land(&self, hash: &KeyHash, answer: &Answer, keep: impl FnOnce()) -> bool {
        let mut under_way = self.under_way();
        let flight = under_way.get_mut(hash).expect("a flight stands until it lands");
        if std::mem::take(&mut flight.voided) {
            return false;
        }
        keep();
        let landed = under_way.remove(hash);
        drop(under_way);
        for waiter in landed.into_iter().flat_map(|flight| flight.waiters) {
            // A waiter that is gone has left with its client.
            let _ = waiter.send(answer.clone());
        }
        true
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.under_way().is_empty()
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<KeyHash, Flight, HashIsHashed>> {
        self.0.lock().expect("nothing panics while it holds the flights")
    }
}
