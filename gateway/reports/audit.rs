//! Who changed what of which key.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::store::ListedEvent;

#[derive(Debug, Serialize, ToSchema)]
pub struct Event<'a> {
    pub event_id: u64,
    pub at: String,
    pub action: &'a str,
    pub key_id: &'a str,
    pub actor: &'a str,
    pub via: &'a str,
    pub origin: Option<&'a str>,
    pub database_role: Option<&'a str>,
    /// Of what was changed only the fields that were; `null`: there was none.
    #[schema(value_type = Object)]
    pub before: Value,
    #[schema(value_type = Object)]
    pub after: Value,
    /// Its place in the chain; `null`: it will have one within a second, if a gateway runs.
    pub position: Option<u64>,
    pub hash: Option<&'a str>,
}

impl<'a> Event<'a> {
    pub fn of(listed: &'a ListedEvent) -> Self {
        let ListedEvent { event, seal } = listed;
        let (before, after) = differing(parsed(event.before.as_deref()), parsed(event.after.as_deref()));
        Self {
            event_id: event.event_id,
            at: event.at.to_rfc3339(),
            action: &event.action,
            key_id: event.key_id.as_str(),
            actor: &event.actor,
            via: &event.via,
            origin: event.origin.as_deref(),
            database_role: event.database_role.as_deref(),
            before,
            after,
            position: seal.as_ref().map(|seal| seal.position),
            hash: seal.as_ref().map(|seal| seal.hash.as_str()),
        }
    }

    /// For people: `name "a" → "b"` of each field that changed, else its value.
    pub fn changes(&self) -> String {
        let (before, after) = (self.before.as_object(), self.after.as_object());
        let Some(told) = after.or(before) else { return String::new() };
        let of = |name: &String| match (before, after) {
            (Some(was), Some(is)) => format!("{name} {} → {}", was.get(name).unwrap_or(&Value::Null), is[name]),
            _ => format!("{name} {}", told[name]),
        };
        told.iter()
            .filter(|(_, value)| before.is_some() && after.is_some() || !value.is_null())
            .map(|(name, _)| of(name))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

pub fn json(events: &[ListedEvent]) -> Vec<Event<'_>> {
    events.iter().map(Event::of).collect()
}

fn parsed(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

/// Of two objects only what differs.
fn differing(before: Value, after: Value) -> (Value, Value) {
    let (Value::Object(was), Value::Object(is)) = (&before, &after) else { return (before, after) };
    let only = |these: &Map<String, Value>, others: &Map<String, Value>| {
        these
            .iter()
            .filter(|(name, value)| others.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    (Value::Object(only(was, is)), Value::Object(only(is, was)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::audit_event::AuditEvent;
    use crate::model::timestamp::Timestamp;

    fn event(before: Option<&str>, after: Option<&str>) -> ListedEvent {
        let event = AuditEvent {
            event_id: 1,
            at: Timestamp::from_secs(0),
            action: "updated".to_owned(),
            key_id: "key_1".into(),
            actor: "ann".to_owned(),
            via: "command".to_owned(),
            origin: None,
            database_role: None,
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        ListedEvent { event, seal: None }
    }

    #[test]
    fn of_a_change_only_what_differs_is_told() {
        let listed =
            event(Some(r#"{"name":"a","user_id":"u","scopes":null}"#), Some(r#"{"name":"b","user_id":"u","scopes":["x"]}"#));
        let told = Event::of(&listed);
        assert_eq!((&told.before, &told.after), (&json!({"name": "a", "scopes": null}), &json!({"name": "b", "scopes": ["x"]})));
        assert_eq!(told.changes(), r#"name "a" → "b", scopes null → ["x"]"#);
    }

    #[test]
    fn of_what_came_or_went_everything_is_told_that_was_set() {
        let all = r#"{"name":"a","expires_at":null}"#;
        for listed in [event(None, Some(all)), event(Some(all), None)] {
            assert_eq!(Event::of(&listed).changes(), r#"name "a""#);
        }
        assert_eq!(Event::of(&event(None, None)).changes(), "");
    }

    #[test]
    fn what_is_no_json_is_told_as_it_stands() {
        assert_eq!(Event::of(&event(Some("{oops"), None)).before, json!("{oops"));
    }
}
