//! Keys made and changed by people: checked, minted, handed to the store.
//!
//! What must stay true here: a key's text leaves only in [`CreatedKey`] and [`RotatedKey`], once; the store gets its hash.

pub mod confirm;
pub mod handover;
pub mod import;
pub mod once;
pub mod shown;

use std::time::Duration;

use crate::model::address::IpNetSet;
use crate::model::api_key::{ApiKey, Environment};
use crate::model::ids::{KeyId, UserId};
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{KeyChanges, KeyFilter, KeyListing, NewSecret, Store, StoreError, Update};

/// Longest name of a key or a user and longest scope, in characters.
const MAX_CHARS: usize = 255;

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub user_id: UserId,
    pub name: String,
    pub environment: Environment,
    /// `None`: never.
    pub expires_at: Option<Timestamp>,
    /// `None`: no limit.
    pub rate_limit_per_hour: Option<u64>,
    /// Empty: any address.
    pub allowed_ips: IpNetSet,
    pub scopes: Vec<String>,
    /// Per hour, with the user's other keys; `None`: whatever comes together.
    pub most_together: Option<u64>,
}

impl NewKey {
    /// Whether whoever has this key gains nothing by the new one.
    pub fn is_covered_by(&self, own: &KeyRecord) -> bool {
        own.covers(&self.record("", own.created_at))
    }

    fn record(&self, key_prefix: &str, now: Timestamp) -> KeyRecord {
        KeyRecord {
            key_id: KeyId::random(),
            key_prefix: key_prefix.to_owned(),
            user_id: self.user_id.clone(),
            name: self.name.clone(),
            environment: self.environment,
            created_at: now,
            expires_at: self.expires_at,
            last_used_at: None,
            is_active: true,
            revoked_at: None,
            rate_limit_per_hour: self.rate_limit_per_hour,
            allowed_ips: self.allowed_ips.clone(),
            scopes: self.scopes.clone(),
            awaits_first_use: false,
        }
    }
}

#[derive(Debug)]
pub struct CreatedKey {
    /// To be shown to its owner now: it cannot be had again.
    pub key: ApiKey,
    pub record: KeyRecord,
}

#[derive(Debug)]
pub struct RotatedKey {
    /// To be shown to its owner now: it cannot be had again.
    pub key: ApiKey,
    pub record: KeyRecord,
    /// Until when the secret before works; `None`: it ended at once.
    pub previous_valid_until: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("there is no key {0}")]
    NotFound(KeyId),
    #[error("{field}: {says}")]
    Invalid { field: &'static str, says: String },
    #[error("the idempotency key was used for something else, or what it was used for has changed; take another one")]
    UsedBefore,
    #[error(
        "the keys of this user may make no more than {0} requests per hour together; give it a lower limit, or revoke another"
    )]
    TooMuchTogether(u64),
    #[error("the operating system has no randomness for a new key: {0}")]
    NoRandomness(#[from] getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `prefix` is the configured `keys.prefix`.
pub async fn create(store: &Store, prefix: &str, new: NewKey, now: Timestamp) -> Result<CreatedKey, KeyringError> {
    check(&new, now)?;
    insert(store, ApiKey::mint(prefix, new.environment)?, &new, now).await
}

fn check(new: &NewKey, now: Timestamp) -> Result<(), KeyringError> {
    check_text("user", new.user_id.as_str())?;
    check_text("name", &new.name)?;
    check_expiry(new.expires_at, now)?;
    check_rate_limit(new.rate_limit_per_hour)?;
    check_scopes(&new.scopes)
}

async fn insert(store: &Store, key: ApiKey, new: &NewKey, now: Timestamp) -> Result<CreatedKey, KeyringError> {
    let record = new.record(key.shown_prefix(), now);
    match new.most_together {
        None => store.insert_key(key.hash(), record.clone()).await?,
        Some(most) if store.insert_key_within(key.hash(), record.clone(), most).await? => {}
        Some(most) => return Err(KeyringError::TooMuchTogether(most)),
    }
    Ok(CreatedKey { key, record })
}

pub async fn list(store: &Store, filter: &KeyFilter) -> Result<KeyListing, KeyringError> {
    Ok(store.list_keys(filter).await?)
}

pub async fn show(store: &Store, key_id: &KeyId) -> Result<KeyRecord, KeyringError> {
    found(key_id, store.get_key(key_id).await?)
}

/// Returns the key as it is after the change.
pub async fn update(store: &Store, key_id: &KeyId, changes: KeyChanges, now: Timestamp) -> Result<KeyRecord, KeyringError> {
    if let Update::Set(user_id) = &changes.user_id {
        check_text("user", user_id.as_str())?;
    }
    if let Update::Set(name) = &changes.name {
        check_text("name", name)?;
    }
    if let Update::Set(expires_at) = changes.expires_at {
        check_expiry(expires_at, now)?;
    }
    if let Update::Set(limit) = changes.rate_limit_per_hour {
        check_rate_limit(limit)?;
    }
    if let Update::Set(scopes) = &changes.scopes {
        check_scopes(scopes)?;
    }
    found(key_id, store.update_key(key_id, changes).await?)
}

/// A new secret for the same key. Old ones work for `grace` more; zero: they end now.
pub async fn rotate(
    store: &Store,
    prefix: &str,
    key_id: &KeyId,
    grace: Duration,
    now: Timestamp,
) -> Result<RotatedKey, KeyringError> {
    let environment = show(store, key_id).await?.environment;
    replace(store, key_id, ApiKey::mint(prefix, environment)?, grace, now).await
}

async fn replace(
    store: &Store,
    key_id: &KeyId,
    key: ApiKey,
    grace: Duration,
    now: Timestamp,
) -> Result<RotatedKey, KeyringError> {
    let secret = NewSecret { hash: key.hash(), prefix: key.shown_prefix().to_owned() };
    let rotated = found(key_id, store.rotate_key(key_id, secret, grace, now).await?)?;
    Ok(RotatedKey { key, record: rotated.record, previous_valid_until: rotated.previous_valid_until })
}

/// Ends every secret of the key, for good. Again changes nothing.
pub async fn revoke(store: &Store, key_id: &KeyId, now: Timestamp) -> Result<(), KeyringError> {
    match store.revoke_key(key_id, now).await? {
        true => Ok(()),
        false => Err(KeyringError::NotFound(key_id.clone())),
    }
}

fn found<T>(key_id: &KeyId, answer: Option<T>) -> Result<T, KeyringError> {
    answer.ok_or_else(|| KeyringError::NotFound(key_id.clone()))
}

fn check_text(field: &'static str, text: &str) -> Result<(), KeyringError> {
    let says = match text {
        _ if text.trim().is_empty() => "must not be empty".to_owned(),
        _ if text.chars().count() > MAX_CHARS => format!("must not be longer than {MAX_CHARS} characters"),
        _ if text.chars().any(char::is_control) => "must not have control characters (tabs, line ends)".to_owned(),
        _ => return Ok(()),
    };
    Err(KeyringError::Invalid { field, says })
}

fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), KeyringError> {
    match expires_at {
        Some(end) if end <= now => {
            let says = format!("{} is past; the key could never be used", end.to_rfc3339());
            Err(KeyringError::Invalid { field: "expires_at", says })
        }
        _ => Ok(()),
    }
}

/// The store holds it as a signed number of 64 bits.
fn check_rate_limit(limit: Option<u64>) -> Result<(), KeyringError> {
    match limit {
        Some(limit) if limit == 0 || i64::try_from(limit).is_err() => {
            let says = format!("{limit} must be from 1 to {}", i64::MAX);
            Err(KeyringError::Invalid { field: "rate_limit", says })
        }
        _ => Ok(()),
    }
}

/// RFC 6749 3.3: `scope-token`.
fn check_scopes(scopes: &[String]) -> Result<(), KeyringError> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let is_token = |scope: &String| (1..=MAX_CHARS).contains(&scope.len()) && scope.bytes().all(allowed);
    match scopes.iter().find(|scope| !is_token(scope)) {
        None => Ok(()),
        Some(scope) => {
            let says =
                format!("{scope:?} must be 1 to {MAX_CHARS} visible ASCII characters, without spaces, quotes and backslashes");
            Err(KeyringError::Invalid { field: "scopes", says })
        }
    }
}

#[cfg(test)]
mod tests;
