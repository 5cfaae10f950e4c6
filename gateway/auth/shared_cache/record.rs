//! A key as it is written into Redis: JSON.
//!
//! What must stay true here: gateways of several versions share a Redis. Every field is needed and no other is taken, so that a
//! record of another version, which may restrict what this one does not know of, is no record.

use serde::{Deserialize, Serialize};

use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord};
use crate::model::timestamp::Timestamp;

/// Times in milliseconds since the epoch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    hash: String,
    secret_expires_at: Option<u64>,
    key_id: String,
    key_prefix: String,
    user_id: String,
    name: String,
    environment: String,
    created_at: u64,
    expires_at: Option<u64>,
    last_used_at: Option<u64>,
    is_active: bool,
    revoked_at: Option<u64>,
    rate_limit_per_hour: Option<u64>,
    allowed_ips: Vec<String>,
    scopes: Vec<String>,
}

pub fn write(key: &FoundKey) -> String {
    let FoundKey { hash, secret_expires_at, record } = key;
    let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
    let written = Written {
        hash: hash.to_hex(),
        secret_expires_at: millis(*secret_expires_at),
        key_id: record.key_id.to_string(),
        key_prefix: record.key_prefix.clone(),
        user_id: record.user_id.to_string(),
        name: record.name.clone(),
        environment: record.environment.as_str().to_owned(),
        created_at: record.created_at.as_millis(),
        expires_at: millis(record.expires_at),
        last_used_at: millis(record.last_used_at),
        is_active: record.is_active,
        revoked_at: millis(record.revoked_at),
        rate_limit_per_hour: record.rate_limit_per_hour,
        allowed_ips: record.allowed_ips.to_strings(),
        scopes: record.scopes.clone(),
    };
    serde_json::to_string(&written).expect("texts and numbers are JSON")
}

/// `None` for what is no record, or one of another version.
pub fn read(text: &str) -> Option<FoundKey> {
    let written: Written = serde_json::from_str(text).ok()?;
    let time = |millis: Option<u64>| millis.map(Timestamp::from_millis);
    Some(FoundKey {
        hash: KeyHash::from_hex(&written.hash)?,
        secret_expires_at: time(written.secret_expires_at),
        record: KeyRecord {
            key_id: written.key_id.into(),
            key_prefix: written.key_prefix,
            user_id: written.user_id.into(),
            name: written.name,
            environment: Environment::parse(&written.environment)?,
            created_at: Timestamp::from_millis(written.created_at),
            expires_at: time(written.expires_at),
            last_used_at: time(written.last_used_at),
            is_active: written.is_active,
            revoked_at: time(written.revoked_at),
            rate_limit_per_hour: written.rate_limit_per_hour,
            allowed_ips: IpNetSet::parse(&written.allowed_ips).ok()?,
            scopes: written.scopes,
            // It was found by its SHA-256.
            awaits_first_use: false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{NOW, hash, record};

    fn key() -> FoundKey {
        let record = KeyRecord {
            expires_at: Some(NOW),
            allowed_ips: IpNetSet::parse(&["10.0.0.0/8", "::1"]).unwrap(),
            scopes: vec!["read".to_owned()],
            ..record("é \"k\"")
        };
        FoundKey { hash: hash("k"), secret_expires_at: Some(NOW), record }
    }

    #[test]
    fn a_key_reads_back_as_it_was() {
        assert_eq!(read(&write(&key())), Some(key()));
        let plain = FoundKey { hash: hash("k"), secret_expires_at: None, record: record("k") };
        assert_eq!(read(&write(&plain)), Some(plain));
    }

    #[test]
    fn a_record_of_another_version_is_none() {
        let text = write(&key());
        for other in
            [text.replacen('{', "{\"denied_ips\":[],", 1), text.replace("\"is_active\":true,", ""), text.replace("::1", "?")]
        {
            assert_ne!(other, text);
            assert_eq!(read(&other), None, "{other}");
        }
    }
}
