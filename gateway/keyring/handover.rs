//! A rotation with nobody there to read the new secret: it has to reach its owner by itself.
//!
//! What must stay true here: whatever fails or is killed, and whenever, the owner holds a secret that works and will go on
//! working until another has reached them. The store knows no secret, only its hash: one that is lost cannot be delivered again.
//! So a new one is first [`offer`]ed, which lets it work beside the current one; then it is delivered; and only then
//! [`settle`] makes it the current one and gives the one before its grace. An offer that comes to nothing changes nothing: the
//! current secret has no end, the key stays due, and the next run offers another.
//!
//! An offer is not withdrawn when its delivery fails: a program that reports a failure may have delivered all the same, and what
//! it delivered would end under somebody who uses it. It ends by itself, after the next run has offered another.

use std::time::Duration;

use super::{KeyringError, RotatedKey, found};
use crate::model::api_key::ApiKey;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{NewSecret, Store};

/// How long a secret works that was offered and not settled: until after the next run of a weekly schedule.
const OFFERED_FOR: Duration = Duration::from_hours(8 * 24);

/// A new secret that works from now on, and the key as it will be once that is settled. `None`: its secret is no longer from
/// before `secret_before`, or it was revoked or deleted meanwhile.
///
/// `prefix` is the configured `keys.prefix`.
pub async fn offer(
    store: &Store,
    prefix: &str,
    record: &KeyRecord,
    secret_before: Timestamp,
    grace: Duration,
    now: Timestamp,
) -> Result<Option<RotatedKey>, KeyringError> {
    let key = ApiKey::mint(prefix, record.environment)?;
    let is_due = store.offer_secret(&record.key_id, key.hash(), now.plus(OFFERED_FOR), secret_before).await?;
    let record = KeyRecord { key_prefix: key.shown_prefix().to_owned(), ..record.clone() };
    let previous_valid_until = (!grace.is_zero()).then(|| now.plus(grace));
    Ok(is_due.then_some(RotatedKey { key, record, previous_valid_until }))
}

/// Makes the secret that was offered, and has reached its owner, the current one. `grace` and `now` are those of the offer: its
/// owner was told until when the one before works.
pub async fn settle(store: &Store, offered: &RotatedKey, grace: Duration, now: Timestamp) -> Result<(), KeyringError> {
    let key_id = &offered.record.key_id;
    let secret = NewSecret { hash: offered.key.hash(), prefix: offered.record.key_prefix.clone() };
    found(key_id, store.rotate_key(key_id, secret, grace, now).await?).map(drop)
}
