//! Whether a request may pass: a key is found in it, looked up, and judged at this instant from this address.

pub mod extract;
pub mod known_key;
pub mod lookup;
pub mod shared_cache;
pub mod watch;

use std::sync::Arc;

use crate::clock::Moment;
use crate::model::address::{ClientIp, IpNetSet};
use crate::model::api_key::Form;
use crate::model::key_record::Standing;
use crate::store::StoreError;
use extract::Presented;
use known_key::SharedKey;
use lookup::Lookup;

/// Why a key does not let its request in. The client is not told all of it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("no key was presented")]
    Missing,
    #[error("two different keys were presented")]
    Several,
    #[error("no such key")]
    Unknown,
    #[error("the key was revoked or disabled")]
    Inactive,
    #[error("the key has expired")]
    Expired,
    #[error("the client's address is not on the key's list")]
    Address,
    /// Nobody could be asked; says nothing about the key.
    #[error("the key could not be looked up: {0}")]
    Unavailable(#[from] StoreError),
}

/// Judges what was presented. A key that passes is good now and from this address.
///
/// # Errors
/// The first reason to refuse, in the order: presented, known, active, not expired, address.
pub async fn authenticate(
    presented: Presented<'_>,
    client: Option<ClientIp>,
    now: Moment,
    lookup: &Arc<Lookup>,
) -> Result<SharedKey, Refusal> {
    let known = identify(presented, now, lookup).await?;
    judge(known.validity().standing(now.wall), known.allowed_ips(), client).map(|()| known)
}

/// Whose key was presented. It may be one that is good no more: that is for [`judge`] to say.
///
/// # Errors
/// [`Refusal::Missing`], [`Refusal::Several`], [`Refusal::Unknown`] or [`Refusal::Unavailable`].
pub async fn identify(presented: Presented<'_>, now: Moment, lookup: &Arc<Lookup>) -> Result<SharedKey, Refusal> {
    let (hash, credential) = match presented {
        Presented::Nothing => return Err(Refusal::Missing),
        Presented::Several => return Err(Refusal::Several),
        Presented::One { hash, credential } => (hash, credential),
    };
    // What is held is a key: nobody need look whether it can be one.
    if let Some(known) = lookup.at_hand(&hash, credential.expose(), now.monotonic) {
        return Ok(known);
    }
    match credential.form() {
        Form::Malformed => return Err(Refusal::Unknown),
        Form::Foreign if !lookup.store_has_foreign_keys() => return Err(Refusal::Unknown),
        Form::Foreign | Form::Ours => {}
    }
    lookup.find(hash, credential.expose(), now.monotonic).await?.ok_or(Refusal::Unknown)
}

/// Whether a key of this standing may be used from this address. None that is allowed: all are.
///
/// # Errors
/// [`Refusal::Inactive`], [`Refusal::Expired`] or [`Refusal::Address`], the first of them.
pub fn judge(standing: Standing, allowed: Option<&IpNetSet>, client: Option<ClientIp>) -> Result<(), Refusal> {
    match standing {
        Standing::Good => {}
        Standing::Inactive => return Err(Refusal::Inactive),
        Standing::Expired => return Err(Refusal::Expired),
    }
    match allowed.filter(|allowed| !allowed.is_empty()) {
        Some(allowed) if !client.is_some_and(|client| allowed.contains(client.get())) => Err(Refusal::Address),
        _ => Ok(()),
    }
}
