//! What was changed of a key, by whom; and the chain of hashes in which a record that was tampered with stands out.
//!
//! What must stay true here: the hash of an event covers all that is told of it and the hash before, in a form that others can
//! make too (docs/audit.md). It can never be another one: chains that exist would break.

use serde::Serialize;

use super::ids::KeyId;
use super::key_hash::KeyHash;
use super::timestamp::Timestamp;

/// Who makes a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Actor {
    name: String,
    via: Via,
    /// The address or the host it comes from.
    origin: Option<String>,
}

/// By what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Api,
    Command,
    Gateway,
}

impl Actor {
    pub fn new(name: &str, via: Via, origin: Option<&str>) -> Self {
        // A database takes most of them, but not all.
        let printable = |text: &str| text.chars().filter(|character| !character.is_control()).collect();
        Self { name: printable(name), via, origin: origin.map(printable) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn via(&self) -> Via {
        self.via
    }

    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }
}

impl Via {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Command => "command",
            Self::Gateway => "gateway",
        }
    }
}

/// A row of `api_key_events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    pub event_id: u64,
    pub at: Timestamp,
    pub action: String,
    pub key_id: KeyId,
    pub actor: String,
    pub via: String,
    pub origin: Option<String>,
    /// The user of the database, where it has any.
    pub database_role: Option<String>,
    /// JSON, as it is stored; `None`: there was none.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// The place of an event in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// From 1, without gaps.
    pub position: u64,
    pub event_id: u64,
    /// 64 hex digits.
    pub hash: String,
}

impl Seal {
    /// `last` is the end of the chain; `None`: the event is its first.
    pub fn after(last: Option<&Self>, event: &AuditEvent) -> Self {
        let position = last.map_or(1, |last| last.position + 1);
        let hash = event.hash(position, last.map_or("", |last| &last.hash));
        Self { position, event_id: event.event_id, hash }
    }
}

impl AuditEvent {
    fn hash(&self, position: u64, hash_before: &str) -> String {
        let Self { event_id, at, action, key_id, actor, via, origin, database_role, before, after } = self;
        let (at, key_id) = (at.to_rfc3339(), key_id.as_str());
        let covered = (position, hash_before, event_id, at, action, key_id, actor, via, origin, database_role, before, after);
        let text = serde_json::to_vec(&covered).expect("texts and numbers are JSON");
        // The SHA-256 in hex, as of a key.
        KeyHash::of(&text).to_hex()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> AuditEvent {
        AuditEvent {
            event_id: 7,
            at: Timestamp::from_secs(1_795_000_000),
            action: "updated".to_owned(),
            key_id: "key_1".into(),
            actor: "ann \"é\"".to_owned(),
            via: "api".to_owned(),
            origin: Some("192.0.2.1".to_owned()),
            database_role: None,
            before: Some(r#"{"name":"a"}"#.to_owned()),
            after: Some(format!(r#"{{"name":"{name}"}}"#)),
        }
    }

    /// By Python, as docs/audit.md has it. Another hash here would break every chain there is.
    #[test]
    fn the_hash_is_that_which_others_compute() {
        let first = Seal::after(None, &event("b"));
        assert_eq!((first.position, first.event_id), (1, 7));
        assert_eq!(first.hash, "4fbd7fe9a85474e31d6e626eb631a63439a19bd52ace40bda954dc5a8b60b41b");
        let second = Seal::after(Some(&first), &event("b"));
        assert_eq!(
            (second.position, second.hash.as_str()),
            (2, "5a042ed1a605bd41547073e1a1db6bfd4ae3e4e54335f067254cee2656766c74")
        );
    }

    #[test]
    fn whatever_is_told_of_an_event_is_covered() {
        let changes: [fn(&mut AuditEvent); 10] = [
            |event| event.event_id += 1,
            |event| event.at = event.at.plus(std::time::Duration::from_millis(1)),
            |event| event.action.push('x'),
            |event| event.key_id = "key_2".into(),
            |event| event.actor.push('x'),
            |event| event.via.push('x'),
            |event| event.origin = None,
            |event| event.database_role = Some(String::new()),
            |event| event.before = None,
            |event| event.after = None,
        ];
        let hashes = changes.map(|change| {
            let mut other = event("b");
            change(&mut other);
            Seal::after(None, &other).hash
        });
        let mut all = vec![Seal::after(None, &event("b")).hash];
        all.extend(hashes);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 11);
    }

    #[test]
    fn a_name_without_what_a_database_refuses() {
        let actor = Actor::new("a\0n\nn", Via::Command, Some("ho\u{1b}st"));
        assert_eq!((actor.name(), actor.origin()), ("ann", Some("host")));
    }
}
