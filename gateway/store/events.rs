//! What is asked of the events, and in which words it is answered.

use crate::model::audit_event::{AuditEvent, Seal};
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::timestamp::Timestamp;

/// Events that are put into the chain at once.
pub(super) const SEALED_AT_ONCE: usize = 1_000;

/// Which events to list.
#[derive(Clone, Debug)]
pub struct EventFilter {
    pub key_id: Option<KeyId>,
    pub action: Option<String>,
    pub since: Timestamp,
    /// Only those that are older than this one.
    pub before: Option<u64>,
    /// So many at most.
    pub most: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEvent {
    pub event: AuditEvent,
    /// `None`: it waits for its place in the chain.
    pub seal: Option<Seal>,
}

/// A place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub seal: Seal,
    /// `None`: it is not there any more.
    pub event: Option<AuditEvent>,
}

/// As events show a secret.
pub(super) fn shown(hash: KeyHash) -> String {
    hash.to_hex()[..16].to_owned()
}

/// Their places at the end of the chain, in this order.
pub(super) fn seals(mut last: Option<Seal>, events: &[AuditEvent]) -> Vec<Seal> {
    let place = |event| {
        let seal = Seal::after(last.as_ref(), event);
        last = Some(seal.clone());
        seal
    };
    events.iter().map(place).collect()
}
