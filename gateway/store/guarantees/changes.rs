//! What changes, by whomever, as gateways hear of it.

use std::time::Duration;

use crate::store::testing::{NOW, Place, add_key, hash, hold_on_every_store, secret};
use crate::store::{Change, ChangeFeed, Store};

hold_on_every_store! {
    a_new_follower_takes_anything_for_changed_before_it_hears_of_changes,
    what_a_command_changes_is_heard_once,
    plain_sql_is_heard,
    a_change_that_was_taken_back_is_not_heard,
    changes_are_heard_in_the_order_of_their_commits,
}

/// Follows from now on.
async fn follow(store: &Store) -> ChangeFeed {
    let mut feed = ChangeFeed::new(store, "gateway");
    assert_eq!(feed.next().await.unwrap().changes, [Change::Anything]);
    feed.applied().await.unwrap();
    feed
}

/// What was heard until now, each once.
async fn heard(feed: &mut ChangeFeed, place: &Place) -> Vec<Change> {
    place.notify_limit("end");
    let mut seen = Vec::new();
    loop {
        for change in feed.next().await.unwrap().changes {
            if change == Change::Limit("end".into()) {
                feed.applied().await.unwrap();
                return seen;
            }
            if !seen.contains(&change) {
                seen.push(change);
            }
        }
        feed.applied().await.unwrap();
    }
}

fn change(key_id: &str) -> Change {
    Change::Secret(hash(key_id))
}

async fn a_new_follower_takes_anything_for_changed_before_it_hears_of_changes(place: Place, store: Store) {
    add_key(&store, "before").await;
    let mut feed = follow(&store).await;
    add_key(&store, "after").await;
    assert_eq!(heard(&mut feed, &place).await, [change("after")]);
}

async fn what_a_command_changes_is_heard_once(place: Place, store: Store) {
    let mut feed = follow(&store).await;
    let id = add_key(&store, "a").await;
    assert_eq!(heard(&mut feed, &place).await, [change("a")]);
    assert_eq!(heard(&mut feed, &place).await, []);
    store.rotate_key(&id, secret("b"), Duration::from_mins(1), NOW).await.unwrap();
    assert_eq!(heard(&mut feed, &place).await.len(), 2);
    store.revoke_key(&id, NOW).await.unwrap();
    assert_eq!(heard(&mut feed, &place).await.len(), 2, "a revocation names every secret");
    place.sql("UPDATE api_keys SET last_used_at = CURRENT_TIMESTAMP");
    assert_eq!(heard(&mut feed, &place).await, [], "use is no change");
}

async fn plain_sql_is_heard(place: Place, store: Store) {
    for key_id in ["a", "b"] {
        add_key(&store, key_id).await;
    }
    store.rotate_key(&"b".into(), secret("c"), Duration::from_hours(1), NOW).await.unwrap();
    let mut feed = follow(&store).await;
    place.sql("UPDATE api_keys SET expires_at = '2020-01-01' WHERE key_id = 'a'");
    assert_eq!(heard(&mut feed, &place).await, [change("a")]);
    place.sql("UPDATE api_keys SET is_active = FALSE WHERE expires_at < CURRENT_TIMESTAMP AND is_active = TRUE");
    assert_eq!(heard(&mut feed, &place).await, [change("a")]);
    place.sql(&format!("UPDATE api_keys SET key_hash = '{}' WHERE key_id = 'a'", hash("d").to_hex()));
    assert_eq!(heard(&mut feed, &place).await.len(), 2, "the old hash and the new one");
    place.sql("UPDATE api_key_previous_secrets SET valid_until = '2020-01-01'");
    assert_eq!(heard(&mut feed, &place).await, [change("b")]);
    place.sql("DELETE FROM api_keys");
    assert_eq!(heard(&mut feed, &place).await.len(), 3, "and what was rotated out");
}

async fn a_change_that_was_taken_back_is_not_heard(place: Place, store: Store) {
    add_key(&store, "a").await;
    let mut feed = follow(&store).await;
    place.sql("BEGIN; DELETE FROM api_keys; ROLLBACK");
    assert_eq!(heard(&mut feed, &place).await, []);
}

async fn changes_are_heard_in_the_order_of_their_commits(place: Place, store: Store) {
    let mut feed = follow(&store).await;
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for name in &names {
        add_key(&store, name).await;
    }
    assert_eq!(heard(&mut feed, &place).await, names.iter().map(|name| change(name)).collect::<Vec<_>>());
}
