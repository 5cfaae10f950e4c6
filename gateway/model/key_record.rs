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
    /// Only a bcrypt hash is known of its secret yet.
    pub awaits_first_use: bool,
}

/// One secret of a key. After a rotation a key has several for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundKey {
    pub hash: KeyHash,
    /// When this secret, rotated out or only offered yet, ends; `None` for the current one.
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

/// What a standing depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub is_active: bool,
    pub is_revoked: bool,
    /// At this instant it has ended; the end of time where it never does.
    pub ends_at: Timestamp,
}

impl Validity {
    pub fn standing(self, now: Timestamp) -> Standing {
        if !self.is_active || self.is_revoked {
            Standing::Inactive
        } else if self.ends_at <= now {
            Standing::Expired
        } else {
            Standing::Good
        }
    }
}

impl KeyRecord {
    pub fn standing(&self, now: Timestamp) -> Standing {
        self.validity().standing(now)
    }

    fn validity(&self) -> Validity {
        let ends_at = self.expires_at.unwrap_or(Timestamp::MAX);
        Validity { is_active: self.is_active, is_revoked: self.revoked_at.is_some(), ends_at }
    }

    /// The same as long as nothing of the key is changed but when it was last used; 32 hex digits.
    pub fn version(&self) -> String {
        let Self { key_id, key_prefix, user_id, name, environment, created_at, expires_at, .. } = self;
        let Self { is_active, revoked_at, rate_limit_per_hour, allowed_ips, scopes, .. } = self;
        let millis = |instant: &Option<Timestamp>| instant.map(Timestamp::as_millis);
        let identity = (key_id.as_str(), key_prefix, user_id.as_str(), name, environment.as_str(), created_at.as_millis());
        let state = (millis(expires_at), is_active, millis(revoked_at), rate_limit_per_hour, allowed_ips.to_strings(), scopes);
        let text = serde_json::to_vec(&(identity, state)).expect("texts and numbers are JSON");
        let mut version = KeyHash::of(&text).to_hex();
        version.truncate(32);
        version
    }

    /// All of those are needed.
    pub fn has_scopes(&self, needed: &[String]) -> bool {
        needed.iter().all(|scope| self.scopes.contains(scope))
    }

    /// Whether whoever has this key gains nothing by the other: it may do no more, no more often, for no longer and from nowhere
    /// else.
    pub fn covers(&self, other: &Self) -> bool {
        let within = |own: Option<u64>, other: Option<u64>| own.is_none_or(|own| other.is_some_and(|other| other <= own));
        let millis = |end: Option<Timestamp>| end.map(Timestamp::as_millis);
        self.environment == other.environment
            && self.has_scopes(&other.scopes)
            && within(self.rate_limit_per_hour, other.rate_limit_per_hour)
            && within(millis(self.expires_at), millis(other.expires_at))
            && (self.allowed_ips.is_empty() || !other.allowed_ips.is_empty() && self.allowed_ips.covers(&other.allowed_ips))
    }
}

impl FoundKey {
    pub fn validity(&self) -> Validity {
        let of_key = self.record.validity();
        Validity { ends_at: of_key.ends_at.min(self.secret_expires_at.unwrap_or(Timestamp::MAX)), ..of_key }
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
                awaits_first_use: false,
            },
        }
    }

    #[test]
    fn a_key_is_good_until_the_instant_it_expires() {
        let mut key = key();
        key.record.expires_at = Some(Timestamp::from_secs(100));
        assert_eq!(key.validity().standing(Timestamp::from_millis(99_999)), Standing::Good);
        assert_eq!(key.validity().standing(Timestamp::from_secs(100)), Standing::Expired);
    }

    #[test]
    fn a_version_is_another_after_any_change_but_a_use() {
        let version = |change: &dyn Fn(&mut KeyRecord)| {
            let mut record = key().record;
            change(&mut record);
            record.version()
        };
        let first = version(&|_| {});
        assert_eq!(version(&|key| key.last_used_at = Some(Timestamp::from_secs(1))), first);
        let changes: [&dyn Fn(&mut KeyRecord); 10] = [
            &|key| key.key_prefix.push('x'),
            &|key| key.user_id = "v".into(),
            &|key| key.name.push('x'),
            &|key| key.environment = Environment::Test,
            &|key| key.expires_at = Some(Timestamp::from_secs(1)),
            &|key| key.is_active = false,
            &|key| key.revoked_at = Some(Timestamp::from_secs(1)),
            &|key| key.rate_limit_per_hour = None,
            &|key| key.allowed_ips = IpNetSet::parse(&["10.0.0.0/8"]).unwrap(),
            &|key| key.scopes = vec!["read".into()],
        ];
        let mut versions: Vec<String> = changes.into_iter().map(version).chain([first]).collect();
        versions.sort();
        versions.dedup();
        assert_eq!(versions.len(), 11);
    }

    #[test]
    fn a_key_covers_itself_and_what_may_less_and_nothing_that_may_more() {
        let record = |change: &dyn Fn(&mut KeyRecord)| {
            let mut record = key().record;
            record.rate_limit_per_hour = Some(10);
            record.expires_at = Some(Timestamp::from_secs(100));
            record.scopes = vec!["read".into(), "write".into()];
            record.allowed_ips = IpNetSet::parse(&["10.0.0.0/8", "2001:db8::/32"]).unwrap();
            change(&mut record);
            record
        };
        let own = record(&|_| {});
        assert!(own.covers(&own));
        let networks = |list: &[&str]| IpNetSet::parse(list).unwrap();
        let less: [&dyn Fn(&mut KeyRecord); 4] = [
            &|key| key.rate_limit_per_hour = Some(9),
            &|key| key.expires_at = Some(Timestamp::from_secs(99)),
            &|key| key.scopes = vec![],
            &|key| key.allowed_ips = networks(&["10.1.0.0/16", "2001:db8::1"]),
        ];
        let more: [&dyn Fn(&mut KeyRecord); 9] = [
            &|key| key.rate_limit_per_hour = Some(11),
            &|key| key.rate_limit_per_hour = None,
            &|key| key.expires_at = Some(Timestamp::from_secs(101)),
            &|key| key.expires_at = None,
            &|key| key.scopes.push("admin".into()),
            &|key| key.allowed_ips = networks(&[]),
            &|key| key.allowed_ips = networks(&["10.1.0.0/16", "11.0.0.1"]),
            &|key| key.allowed_ips = networks(&["0.0.0.0/0"]),
            &|key| key.environment = Environment::Test,
        ];
        assert!(less.iter().all(|change| own.covers(&record(change))));
        for (number, change) in more.iter().enumerate() {
            assert!(!own.covers(&record(change)), "{number}");
        }
        assert!(!record(less[3]).covers(&own));
    }

    #[test]
    fn a_rotated_secret_ends_with_its_grace_and_not_the_key() {
        let mut old = key();
        old.secret_expires_at = Some(Timestamp::from_secs(50));
        assert_eq!(old.validity().standing(Timestamp::from_secs(49)), Standing::Good);
        assert_eq!(old.validity().standing(Timestamp::from_secs(50)), Standing::Expired);
        assert_eq!(old.record.standing(Timestamp::from_secs(50)), Standing::Good);
    }

    #[test]
    fn a_revoked_key_stays_inactive_even_when_the_flag_is_set_again() {
        let mut key = key();
        key.record.revoked_at = Some(Timestamp::from_secs(1));
        assert_eq!(key.validity().standing(Timestamp::from_secs(2)), Standing::Inactive);
    }
}
