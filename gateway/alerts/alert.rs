//! An alert as it is told.
//!
//! What must stay true here: the same finding about a key or an address has the same `id` on every gateway and after a restart,
//! within one `repeat_after`, so that a receiver can tell that it has it already. No alert holds a secret.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::timestamp::Timestamp;
use crate::observe::metrics::AlertKind;

/// Something that somebody should know of.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub kind: AlertKind,
    /// What it is about: a key, an address. Empty: the gateway that found it.
    pub subject: String,
    /// One line, for people.
    pub summary: String,
    /// An object, for programs.
    pub details: Value,
}

/// The body of a webhook's request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    pub id: String,
    pub kind: &'static str,
    pub state: State,
    pub raised_at: String,
    pub resolved_at: Option<String>,
    pub summary: String,
    pub gateway: String,
    pub details: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Raised,
    Resolved,
}

impl Alert {
    pub fn raised(finding: &Finding, gateway: &str, now: Timestamp, repeat_after: Duration) -> Self {
        Self {
            id: id(finding, gateway, now, repeat_after),
            kind: finding.kind.as_str(),
            state: State::Raised,
            raised_at: now.to_rfc3339(),
            resolved_at: None,
            summary: finding.summary.clone(),
            gateway: gateway.to_owned(),
            details: finding.details.clone(),
        }
    }

    /// The same, once it is over.
    pub fn resolved(self, now: Timestamp) -> Self {
        Self {
            state: State::Resolved,
            resolved_at: Some(now.to_rfc3339()),
            summary: format!("no longer: {}", self.summary),
            ..self
        }
    }

    /// Names one message: that of the end is another than that of the beginning.
    pub fn message_id(&self) -> String {
        match self.state {
            State::Raised => self.id.clone(),
            State::Resolved => format!("{}-resolved", self.id),
        }
    }
}

/// What is about a gateway itself is its own, and has a new id each time.
fn id(finding: &Finding, gateway: &str, now: Timestamp, repeat_after: Duration) -> String {
    let (whose, when) = match finding.subject.as_str() {
        "" => (gateway, u128::from(now.as_millis())),
        subject => (subject, u128::from(now.as_millis()) / repeat_after.as_millis().max(1)),
    };
    let digest = Sha256::digest(format!("{}\n{whose}\n{when}", finding.kind.as_str()));
    let start = digest.first_chunk().expect("a SHA-256 is longer");
    format!("{:032x}", u128::from_be_bytes(*start))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn id_of(subject: &str, gateway: &str, now: u64) -> String {
        let finding =
            Finding { kind: AlertKind::KeyExpires, subject: subject.into(), summary: String::new(), details: json!({}) };
        Alert::raised(&finding, gateway, Timestamp::from_secs(now), DAY).id
    }

    #[test]
    fn what_is_found_of_a_key_has_one_id_on_all_gateways_until_it_is_repeated() {
        assert_eq!(id_of("key_a", "one", 100), id_of("key_a", "two", 86_399));
        assert_ne!(id_of("key_a", "one", 100), id_of("key_a", "one", 86_400));
        assert_ne!(id_of("key_a", "one", 100), id_of("key_b", "one", 100));
    }

    #[test]
    fn what_a_gateway_finds_of_itself_has_an_id_of_its_own() {
        assert_ne!(id_of("", "one", 100), id_of("", "two", 100));
        assert_ne!(id_of("", "one", 100), id_of("", "one", 101));
    }
}
