//! The chain of events: kept up while a gateway runs, and checked.
//!
//! What must stay true here: what is reported as whole was read from its first event to its last, and every hash computed anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::model::audit_event::Seal;
use crate::store::{Link, Store, StoreError};

/// Links that are in memory at once.
const PAGE: usize = 1_000;
/// Breaks that are told; the rest is counted.
const MOST_TOLD: usize = 100;
/// Between two looks without a change.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Until a store that could not be asked is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Puts every event that waits at the end of the chain.
pub async fn seal(store: &Store) -> Result<(), StoreError> {
    while let Some(head) = store.seal_events().await?.pop() {
        // Kept somewhere else, as logs are, it tells a chain that was cut off or made anew from the one that was.
        tracing::info!(position = head.position, hash = head.hash, "changes of keys are in the chain of events");
    }
    Ok(())
}

/// Does so after each change, for ever; and now and then, for somebody who was at it and did not come to an end.
pub async fn keep_sealed(store: &Store, mut changes: watch::Receiver<()>) {
    let mut told = String::new();
    while !matches!(timeout(LOOK_EVERY, changes.changed()).await, Ok(Err(_))) {
        while let Err(error) = seal(store).await {
            if error.to_string() != told {
                tracing::warn!(%error, "changes of keys wait for their place in the chain of events");
                told = error.to_string();
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        told.clear();
    }
}

/// What was found in the chain.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Nothing in the chain was changed, and nothing of it is missing.
    pub is_whole: bool,
    /// Events in the chain.
    pub sealed: u64,
    /// Events that will be within a second, if a gateway runs.
    pub waiting: u64,
    /// Its end: what to keep somewhere else.
    pub head: Option<String>,
    /// What is wrong, the first hundred of it.
    pub breaks: Vec<String>,
    /// How many more there are.
    pub more_breaks: u64,
}

/// Reads the whole chain. `kept` is a head of earlier, which has to be in it still.
pub async fn verify(store: &Store, kept: Option<&Head>) -> Result<Verdict, StoreError> {
    let mut check = Check { kept, ..Check::default() };
    loop {
        let page = store.chain_after(check.position(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        for link in page {
            check.next(link);
        }
    }
    let (waiting, lost) = store.unsealed_events().await?;
    Ok(check.end(waiting, lost))
}

/// The end that a chain had at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    position: u64,
    hash: String,
}

impl Head {
    /// As [`Verdict::head`] has it: `12:9f86d08…`
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let head = text.split_once(':').and_then(|(position, hash)| {
            let is_hash = hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
            Some(Self { position: position.parse().ok().filter(|_| is_hash)?, hash: hash.to_ascii_lowercase() })
        });
        head.ok_or("a position and its hash are needed, as `audit verify` prints them: 12:9f86d0…")
    }

    fn of(seal: &Seal) -> Self {
        Self { position: seal.position, hash: seal.hash.clone() }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.position, self.hash)
    }
}

#[derive(Default)]
struct Check<'a> {
    kept: Option<&'a Head>,
    is_kept: bool,
    last: Option<Seal>,
    verdict: Verdict,
}

impl Check<'_> {
    fn position(&self) -> u64 {
        self.last.as_ref().map_or(0, |seal| seal.position)
    }

    /// After a break it goes on from what stands there, so that one break is told once.
    fn next(&mut self, link: Link) {
        let Link { seal, event } = link;
        let expected = self.position() + 1;
        if seal.position != expected {
            let until = seal.position - 1;
            self.breaks(format!("positions {expected} to {until} are missing"));
        }
        match event {
            None => self.breaks(format!("event {} at position {} is missing", seal.event_id, seal.position)),
            // Behind a gap nobody knows the hash before.
            Some(event) if seal.position == expected && Seal::after(self.last.as_ref(), &event) != seal => {
                self.breaks(format!("event {} at position {} was changed, or its hash was", seal.event_id, seal.position));
            }
            Some(_) => {}
        }
        self.is_kept |= self.kept == Some(&Head::of(&seal));
        self.verdict.sealed += 1;
        self.last = Some(seal);
    }

    fn end(mut self, waiting: u64, lost: u64) -> Verdict {
        if lost > 0 {
            self.breaks(format!("{lost} events are neither in the chain nor wait for it"));
        }
        if let Some(head) = self.kept.filter(|_| !self.is_kept) {
            self.breaks(format!("the chain does not hold {head}: it was cut off or made anew"));
        }
        let Self { last, mut verdict, .. } = self;
        verdict.is_whole = verdict.breaks.is_empty();
        verdict.waiting = waiting;
        verdict.head = last.as_ref().map(|seal| Head::of(seal).to_string());
        verdict
    }

    fn breaks(&mut self, says: String) {
        match self.verdict.breaks.len() < MOST_TOLD {
            true => self.verdict.breaks.push(says),
            false => self.verdict.more_breaks += 1,
        }
    }
}

#[cfg(test)]
mod tests;
