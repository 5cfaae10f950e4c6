//! Changes of keys, noted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::model::audit_event::{Actor, Via};
use crate::model::timestamp::Timestamp;
use crate::store::testing::{NOW, Place, add_key, hash, hold_on_every_store, record, secret};
use crate::store::{EventFilter, KeyChanges, ListedEvent, Store, StoreError, Update};

hold_on_every_store! {
    every_change_is_noted_with_who_made_it_and_what_it_was_before,
    what_plain_sql_changes_is_noted_too,
    nothing_is_noted_where_nothing_changed,
    a_change_that_is_taken_back_leaves_no_event,
    no_event_holds_a_whole_hash,
    events_cannot_be_changed_or_removed,
    events_are_listed_by_key_by_action_by_time_and_page_by_page,
}

const DAY: Duration = Duration::from_hours(24);

fn all() -> EventFilter {
    EventFilter { key_id: None, action: None, since: Timestamp::default(), before: None, most: 10_000 }
}

/// The oldest first.
async fn events(store: &Store) -> Vec<ListedEvent> {
    let mut events = store.list_events(&all()).await.unwrap();
    events.reverse();
    events
}

async fn actions(store: &Store) -> Vec<String> {
    events(store).await.into_iter().map(|listed| listed.event.action).collect()
}

fn ann(store: &Store) -> Store {
    store.acting_as(Actor::new("ann's \\ \"key\"", Via::Api, Some("192.0.2.1")))
}

fn renamed(name: &str) -> KeyChanges {
    KeyChanges { name: Update::Set(name.to_owned()), ..KeyChanges::default() }
}

async fn every_change_is_noted_with_who_made_it_and_what_it_was_before(_: Place, store: Store) {
    let store = ann(&store);
    let id = add_key(&store, "k").await;
    store.update_key(&id, renamed("another")).await.unwrap();
    store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap();
    store.reset_hour(&id).await.unwrap();
    store.revoke_key(&id, NOW).await.unwrap();
    let events = events(&store).await;
    let actions: BTreeSet<&str> = events.iter().map(|listed| listed.event.action.as_str()).collect();
    let expected = ["created", "limit_reset", "revoked", "rotated", "secret_added", "secret_removed", "updated"];
    assert_eq!(actions, BTreeSet::from(expected));
    assert_eq!(events.len(), expected.len());
    for ListedEvent { event, .. } in &events {
        assert_eq!((event.key_id.as_str(), event.actor.as_str()), (id.as_str(), "ann's \\ \"key\""), "{event:?}");
        assert_eq!((event.via.as_str(), event.origin.as_deref()), ("api", Some("192.0.2.1")));
    }
    let updated = &events.iter().find(|listed| listed.event.action == "updated").unwrap().event;
    let name = |text: &Option<String>| serde_json::from_str::<Value>(text.as_ref().unwrap()).unwrap()["name"].clone();
    assert_eq!((name(&updated.before), name(&updated.after)), (record("k").name.into(), "another".into()));
}

async fn what_plain_sql_changes_is_noted_too(place: Place, store: Store) {
    // A command before leaves no name behind.
    add_key(&ann(&store), "k").await;
    place.sql("UPDATE api_keys SET is_active = FALSE");
    place.sql("UPDATE api_keys SET is_active = TRUE, name = 'x'");
    place.sql("INSERT INTO api_key_previous_secrets (key_hash, key_id, valid_until) VALUES ('ab', 'k', '2099-01-01 00:00:00')");
    place.sql("DELETE FROM api_key_previous_secrets");
    place.sql("DELETE FROM api_keys");
    assert_eq!(actions(&store).await, ["created", "disabled", "enabled", "secret_added", "secret_removed", "deleted"]);
    for ListedEvent { event, .. } in &events(&store).await[1..] {
        assert_eq!(event.via, "sql");
        let name = if matches!(place, Place::Postgres(_)) { "postgres" } else { "sql" };
        assert_eq!(event.actor, name);
    }
}

async fn nothing_is_noted_where_nothing_changed(place: Place, store: Store) {
    let id = add_key(&store, "k").await;
    store.touch_last_used(vec![(id.clone(), NOW)]).await.unwrap();
    store.update_key(&id, KeyChanges::default()).await.unwrap();
    place.sql("UPDATE api_keys SET name = name, is_active = is_active");
    place.sql("UPDATE api_keys SET last_used_at = '2026-11-22 10:00:00'");
    store.revoke_key(&id, NOW).await.unwrap();
    store.revoke_key(&id, NOW.plus(DAY)).await.unwrap();
    assert!(store.update_key(&id, renamed("x")).await.is_err());
    assert_eq!(actions(&store).await, ["created", "revoked"]);
}

async fn a_change_that_is_taken_back_leaves_no_event(place: Place, store: Store) {
    let store = ann(&store);
    add_key(&store, "k").await;
    let again = store.insert_key(hash("k"), record("other")).await;
    assert!(matches!(again, Err(StoreError::Refused(_))), "{again:?}");
    place.sql("BEGIN; DELETE FROM api_keys; ROLLBACK");
    // Nor a name for whoever comes next.
    place.sql("UPDATE api_keys SET name = 'x'");
    assert_eq!(actions(&store).await, ["created", "updated"]);
    assert_eq!(events(&store).await[1].event.via, "sql");
}

async fn no_event_holds_a_whole_hash(_: Place, store: Store) {
    let id = add_key(&store, "k").await;
    store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap();
    for ListedEvent { event, .. } in events(&store).await {
        let told = format!("{event:?}");
        assert!(!told.contains(&hash("k").to_hex()) && !told.contains(&hash("new").to_hex()), "{told}");
        assert!(told.contains(&hash("k").to_hex()[..16]) || told.contains(&hash("new").to_hex()[..16]), "{told}");
    }
}

async fn events_cannot_be_changed_or_removed(place: Place, store: Store) {
    add_key(&store, "k").await;
    store.seal_events().await.unwrap();
    for (table, column) in [("api_key_events", "actor"), ("api_key_event_seals", "hash")] {
        for statement in [format!("UPDATE {table} SET {column} = 'x'"), format!("DELETE FROM {table}")] {
            assert!(place.refuses(&statement).contains("only grows"), "{statement}");
        }
    }
    assert_eq!(actions(&store).await, ["created"]);
}

async fn events_are_listed_by_key_by_action_by_time_and_page_by_page(_: Place, store: Store) {
    for key in ["a", "b", "c"] {
        let id = add_key(&store, key).await;
        store.update_key(&id, renamed("x")).await.unwrap();
    }
    let ids = async |filter| {
        let listed = store.list_events(&filter).await.unwrap();
        listed.into_iter().map(|listed| format!("{} {}", listed.event.action, listed.event.key_id)).collect::<Vec<_>>()
    };
    assert_eq!(ids(EventFilter { key_id: Some("b".into()), ..all() }).await, ["updated b", "created b"]);
    assert_eq!(ids(EventFilter { action: Some("created".to_owned()), ..all() }).await, ["created c", "created b", "created a"]);
    let page = store.list_events(&EventFilter { most: 4, ..all() }).await.unwrap();
    let before = page.last().map(|listed| listed.event.event_id);
    assert_eq!((page.len(), ids(EventFilter { before, ..all() }).await), (4, vec!["updated a".into(), "created a".into()]));
    let newest = page[0].event.at;
    assert!(ids(EventFilter { since: newest.plus(DAY), ..all() }).await.is_empty());
    assert!(ids(EventFilter { since: newest, ..all() }).await.contains(&"updated c".to_owned()));
}
