//! A key as the store knows it, and its standing at an instant.

use super::address::IpNetSet;
use super::api_key::Environment;
use super::ids::{KeyId, UserId};
use super::key_hash::KeyHash;
use super::timestamp::Timestamp;

/// One row of `api_keys`, checked: nothing in it needs parsing again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub key_id: KeyId,
    pub key_prefix: String,
    pub user_id: UserId,
    pub name: String,
    pub environment: Environment,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub is_active: bool,
    /// Set once and for good; a revoked key cannot be enabled again.
    pub revoked_at: Option<Timestamp>,
    /// Requests per clock hour; `None` for no limit.
    pub rate_limit_per_hour: Option<u64>,
    /// Empty: any address.
    pub allowed_ips: IpNetSet,
    pub scopes: Vec<String>,
}

/// One secret of a key. After a rotation a key has several for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundKey {
    pub hash: KeyHash,
    /// When this secret, rotated out, ends; `None` for the current one.
    pub secret_expires_at: Option<Timestamp>,
    pub record: KeyRecord,
}

/// Whether a key may be used at all. The client learns only that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Good,
    Inactive,
    Expired,
}

impl KeyRecord {
    /// At its `expires_at` a key has expired.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if !self.is_active || self.revoked_at.is_some() {
            Standing::Inactive
        } else if self.expires_at.is_some_and(|end| end <= now) {
            Standing::Expired
        } else {
            Standing::Good
        }
    }

    /// All of those are needed.
    pub fn has_scopes(&self, needed: &[String]) -> bool {
        needed.iter().all(|scope| self.scopes.contains(scope))
    }
}

impl FoundKey {
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.record.standing(now) {
            Standing::Good if self.secret_expires_at.is_some_and(|end| end <= now) => Standing::Expired,
            standing => standing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FoundKey {
        FoundKey {
            hash: KeyHash::of(b"x"),
            secret_expires_at: None,
            record: KeyRecord {
                key_id: "k".into(),
                key_prefix: "hk_live_abc".into(),
                user_id: "u".into(),
                name: "n".into(),
                environment: Environment::Production,
                created_at: Timestamp::from_secs(0),
                expires_at: None,
                last_used_at: None,
                is_active: true,
                revoked_at: None,
                rate_limit_per_hour: Some(1),
                allowed_ips: IpNetSet::default(),
                scopes: vec![],
            },
        }
    }

    #[test]
    fn a_key_is_good_until_the_instant_it_expires() {
        let mut key = key();
        key.record.expires_at = Some(Timestamp::from_secs(100));
        assert_eq!(key.standing(Timestamp::from_millis(99_999)), Standing::Good);
        assert_eq!(key.standing(Timestamp::from_secs(100)), Standing::Expired);
    }

    #[test]
    fn a_rotated_secret_ends_with_its_grace_and_not_the_key() {
        let mut old = key();
        old.secret_expires_at = Some(Timestamp::from_secs(50));
        assert_eq!(old.standing(Timestamp::from_secs(49)), Standing::Good);
        assert_eq!(old.standing(Timestamp::from_secs(50)), Standing::Expired);
        assert_eq!(old.record.standing(Timestamp::from_secs(50)), Standing::Good);
    }

    #[test]
    fn a_revoked_key_stays_inactive_even_when_the_flag_is_set_again() {
        let mut key = key();
        key.record.revoked_at = Some(Timestamp::from_secs(1));
        assert_eq!(key.standing(Timestamp::from_secs(2)), Standing::Inactive);
    }
}
