//! One key as somebody wrote it down, field by field.
//!
//! What must stay true here: all that is wrong with it is told, and a field that is not known is wrong: it may have restricted the key.

use serde_json::{Map, Value};

use super::Defaults;
use super::proof::{self, Proof};
use crate::keyring::{check_rate_limit, check_scopes, check_text};
use crate::model::address::IpNetSet;
use crate::model::api_key::{Environment, SHORTEST_KEY};
use crate::model::ids::{KeyId, UserId};
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::ImportedKey;

/// By name. Empty texts and `null` are as good as absent.
pub type Fields = Map<String, Value>;

/// Every name that a field may have.
pub const FIELDS: [&str; 16] = [
    "key",
    "key_hash",
    "bcrypt_hash",
    "key_id",
    "key_prefix",
    "user_id",
    "name",
    "environment",
    "created_at",
    "expires_at",
    "last_used_at",
    "is_active",
    "revoked_at",
    "rate_limit_per_hour",
    "allowed_ips",
    "scopes",
];

/// Longest `key_id`, in characters.
const LONGEST_ID: usize = 255;
const DEFAULT_NAME: &str = "imported";

/// # Errors
/// All that is wrong with it.
pub(super) fn read(fields: Fields, defaults: &Defaults) -> Result<ImportedKey, Vec<String>> {
    let mut entry = Entry { fields, faults: Vec::new() };
    let proof = proof::read(&mut entry, &defaults.prefix);
    let record = entry.record(defaults, proof.as_ref());
    for name in entry.fields.keys() {
        // Shorter than any key, it is none that got into the heading.
        let shown = if name.len() < SHORTEST_KEY { format!(" `{}`", name.escape_debug()) } else { String::new() };
        entry.faults.push(format!("a field{shown} is not known; known are {}", FIELDS.join(", ")));
    }
    match proof {
        Some(proof) if entry.faults.is_empty() => Ok(ImportedKey { hash: proof.hash, minted: proof.minted, record }),
        _ => Err(entry.faults),
    }
}

/// What is left of the fields, and what was wrong with those before.
pub(super) struct Entry {
    fields: Fields,
    faults: Vec<String>,
}

impl Entry {
    pub fn fault(&mut self, name: &str, says: &str) {
        self.faults.push(format!("{name}: {says}"));
    }

    /// Numbers too: ids of other tables often are.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => {
                self.fault(name, "must be a text");
                None
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| match value {
            Value::Null => false,
            Value::String(text) => !text.trim().is_empty(),
            _ => true,
        })
    }

    /// Of no use where something is wrong with it.
    fn record(&mut self, defaults: &Defaults, proof: Option<&Proof>) -> KeyRecord {
        let environment = self.parsed("environment", "must be production, test or development", Environment::parse);
        let revoked_at = self.time("revoked_at");
        KeyRecord {
            key_id: self.key_id(),
            key_prefix: proof.map(|proof| proof.prefix.clone()).unwrap_or_default(),
            user_id: self.user_id(defaults),
            name: self.name(),
            environment: environment.unwrap_or(Environment::Production),
            created_at: self.time("created_at").unwrap_or(defaults.now),
            expires_at: self.time("expires_at"),
            last_used_at: self.time("last_used_at"),
            is_active: self.is_active(),
            revoked_at,
            rate_limit_per_hour: self.rate_limit(defaults),
            allowed_ips: self.allowed_ips(),
            scopes: self.scopes(),
            // A revoked one is never used.
            awaits_first_use: revoked_at.is_none() && proof.is_some_and(Proof::is_bcrypt),
        }
    }

    fn parsed<T>(&mut self, name: &str, wrong: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(self.text(name)?.trim());
        if parsed.is_none() {
            self.fault(name, wrong);
        }
        parsed
    }

    fn time(&mut self, name: &str) -> Option<Timestamp> {
        self.parsed(name, "must be a time, like 2027-01-31T12:00:00Z", Timestamp::parse)
    }

    fn key_id(&mut self) -> KeyId {
        let wrong = "must be 1 to 255 visible ASCII characters";
        let is_id = |text: &str| text.len() <= LONGEST_ID && text.bytes().all(|byte| byte.is_ascii_graphic());
        let parsed = self.parsed("key_id", wrong, |text| is_id(text).then(|| KeyId::from(text)));
        parsed.unwrap_or_else(KeyId::random)
    }

    fn user_id(&mut self, defaults: &Defaults) -> UserId {
        let user_id = self.text("user_id").map(UserId::from).or_else(|| defaults.user_id.clone());
        let Some(user_id) = user_id else {
            self.fault("user_id", "is missing; or name the user of all keys with --user");
            return "".into();
        };
        self.checked_text("user_id", user_id.as_str());
        user_id
    }

    fn name(&mut self) -> String {
        let name = self.text("name").unwrap_or_else(|| DEFAULT_NAME.to_owned());
        self.checked_text("name", &name);
        name
    }

    fn checked_text(&mut self, name: &'static str, text: &str) {
        if let Err(wrong) = check_text(name, text) {
            self.faults.push(wrong.to_string());
        }
    }

    /// As other tables write it, too.
    fn is_active(&mut self) -> bool {
        let Some(value) = self.take("is_active") else { return true };
        let text = match &value {
            Value::String(text) => text.trim().to_ascii_lowercase(),
            other => other.to_string(),
        };
        match text.as_str() {
            "true" | "t" | "1" => true,
            "false" | "f" | "0" => false,
            _ => {
                self.fault("is_active", "must be true or false");
                false
            }
        }
    }

    fn rate_limit(&mut self, defaults: &Defaults) -> Option<u64> {
        let Some(text) = self.text("rate_limit_per_hour") else { return defaults.rate_limit_per_hour };
        if text.trim() == "none" {
            return None;
        }
        let limit = text.trim().parse().ok().filter(|limit| check_rate_limit(Some(*limit)).is_ok());
        if limit.is_none() {
            self.fault("rate_limit_per_hour", "must be a whole number from 1 on, or `none` for no limit");
        }
        limit
    }

    fn allowed_ips(&mut self) -> IpNetSet {
        let networks = IpNetSet::parse(&self.list("allowed_ips"));
        networks.unwrap_or_else(|_| {
            self.fault("allowed_ips", "must be addresses and networks, like [\"203.0.113.7\", \"10.0.0.0/8\"]");
            IpNetSet::default()
        })
    }

    fn scopes(&mut self) -> Vec<String> {
        let scopes = self.list("scopes");
        if check_scopes(&scopes).is_err() {
            self.fault("scopes", "must be visible ASCII characters each, without spaces, quotes and backslashes");
        }
        scopes
    }

    /// A JSON array, also as a text; or texts with spaces or commas between.
    fn list(&mut self, name: &str) -> Vec<String> {
        let strings = |items: &[Value]| items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
        let list = match self.take(name) {
            None => return Vec::new(),
            Some(Value::Array(items)) => strings(&items),
            Some(Value::String(text)) if text.trim_start().starts_with('[') => {
                serde_json::from_str(&text).ok().and_then(|items: Vec<Value>| strings(&items))
            }
            // Braces are another program's list: its commas do not stand where ours do.
            Some(Value::String(text)) if !text.contains(['{', '}', '"']) => {
                Some(text.split([' ', ',']).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            }
            Some(_) => None,
        };
        list.unwrap_or_else(|| {
            self.fault(name, "must be a list of texts, like [\"a\", \"b\"]");
            Vec::new()
        })
    }
}
