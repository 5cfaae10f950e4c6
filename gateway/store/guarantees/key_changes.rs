//! Keys made, changed, rotated, revoked.

use std::time::Duration;

use crate::model::key_record::{KeyRecord, Standing};
use crate::model::timestamp::Timestamp;
use crate::store::testing::{NOW, Place, add_key, hash, hold_on_every_store, record, secret};
use crate::store::{KeyChanges, KeyFilter, Store, StoreError, Update};

hold_on_every_store! {
    an_id_or_a_hash_that_is_there_already_is_refused,
    keys_of_a_user_stay_within_what_they_may_have_together,
    after_a_rotation_both_secrets_work_until_the_grace_is_over,
    a_rotation_without_grace_ends_every_earlier_secret_at_once,
    a_rotation_forgets_secrets_whose_grace_is_over_and_keeps_the_others,
    a_secret_on_offer_works_beside_the_current_one_and_changes_nothing_else,
    an_offer_that_becomes_the_current_secret_has_no_end_any_more,
    nothing_is_offered_for_a_key_that_is_not_due_any_more,
    a_revocation_ends_every_secret_for_good,
    a_second_revocation_keeps_the_time_of_the_first,
    an_update_sets_what_it_names_and_nothing_else,
    of_two_updates_of_what_both_have_seen_one_is_refused_and_changes_nothing,
    expired_keys_are_deactivated_whatever_form_their_time_has,
}

const DAY: Duration = Duration::from_hours(24);

async fn standing(store: &Store, secret: &str, at: Timestamp) -> Option<Standing> {
    store.find_key(hash(secret)).await.unwrap().map(|found| found.validity().standing(at))
}

async fn an_id_or_a_hash_that_is_there_already_is_refused(_: Place, store: Store) {
    add_key(&store, "k").await;
    for (hash, record) in [(hash("k"), record("other")), (hash("other"), record("k"))] {
        let answer = store.insert_key(hash, record).await;
        assert!(matches!(&answer, Err(StoreError::Refused(says)) if says.to_lowercase().contains("unique")), "{answer:?}");
    }
}

async fn keys_of_a_user_stay_within_what_they_may_have_together(place: Place, store: Store) {
    let limited = |key: &str, limit| KeyRecord { rate_limit_per_hour: limit, ..record(key) };
    let insert = async |store: &Store, record: KeyRecord| {
        store.insert_key_within(hash(record.key_id.as_str()), record, 100).await.unwrap()
    };
    assert!(insert(&store, limited("first", Some(60))).await);
    let other = place.store();
    let (one, two) = tokio::join!(insert(&store, limited("a", Some(40))), insert(&other, limited("b", Some(40))));
    assert!(one ^ two, "two at once are one too many");
    assert!(!insert(&store, limited("c", Some(1))).await);
    assert!(!insert(&store, limited("d", None)).await);
    assert!(insert(&store, KeyRecord { user_id: "another".into(), ..limited("e", Some(100)) }).await);
    // What is no longer good counts no more.
    store.revoke_key(&"first".into(), NOW).await.unwrap();
    assert!(insert(&store, KeyRecord { expires_at: Some(NOW), ..limited("expired", Some(60)) }).await);
    assert!(insert(&store, limited("f", Some(60))).await);
    assert_eq!(place.number("SELECT count(*) FROM api_keys"), 5);
}

async fn after_a_rotation_both_secrets_work_until_the_grace_is_over(_: Place, store: Store) {
    let id = add_key(&store, "old").await;
    let rotated = store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap().unwrap();
    assert_eq!((rotated.record.key_prefix.as_str(), rotated.previous_valid_until), ("hk_live_new", Some(NOW.plus(DAY))));
    assert_eq!(standing(&store, "new", NOW).await, Some(Standing::Good));
    assert_eq!(standing(&store, "old", NOW).await, Some(Standing::Good));
    assert_eq!(standing(&store, "old", NOW.plus(DAY)).await, Some(Standing::Expired));
    let record = store.get_key(&id).await.unwrap().unwrap();
    assert_eq!(store.find_key(hash("old")).await.unwrap().unwrap().record, record);
}

async fn a_rotation_without_grace_ends_every_earlier_secret_at_once(_: Place, store: Store) {
    let id = add_key(&store, "first").await;
    store.rotate_key(&id, secret("second"), DAY, NOW).await.unwrap();
    let rotated = store.rotate_key(&id, secret("third"), Duration::ZERO, NOW).await.unwrap().unwrap();
    assert_eq!(rotated.previous_valid_until, None);
    let found = [standing(&store, "first", NOW).await, standing(&store, "second", NOW).await];
    assert_eq!(found, [None, None]);
    assert_eq!(standing(&store, "third", NOW).await, Some(Standing::Good));
}

async fn a_rotation_forgets_secrets_whose_grace_is_over_and_keeps_the_others(_: Place, store: Store) {
    let id = add_key(&store, "first").await;
    store.rotate_key(&id, secret("second"), DAY, NOW).await.unwrap();
    store.rotate_key(&id, secret("third"), DAY * 3, NOW).await.unwrap();
    store.rotate_key(&id, secret("fourth"), DAY, NOW.plus(DAY)).await.unwrap();
    assert_eq!(standing(&store, "first", NOW).await, None);
    assert_eq!(standing(&store, "second", NOW.plus(DAY)).await, Some(Standing::Good));
}

async fn a_secret_on_offer_works_beside_the_current_one_and_changes_nothing_else(_: Place, store: Store) {
    let id = add_key(&store, "old").await;
    assert!(store.offer_secret(&id, hash("new"), NOW.plus(DAY), NOW.plus(DAY)).await.unwrap());
    assert_eq!(standing(&store, "new", NOW).await, Some(Standing::Good));
    assert_eq!(standing(&store, "new", NOW.plus(DAY)).await, Some(Standing::Expired));
    assert_eq!(standing(&store, "old", NOW.plus(DAY * 400)).await, Some(Standing::Good));
    assert_eq!(store.get_key(&id).await.unwrap(), Some(record("old")));
    let due = KeyFilter { secret_before: Some(NOW.plus(DAY)), ..KeyFilter::default() };
    assert_eq!(store.list_keys(&due).await.unwrap().keys, [record("old")], "it is due as before");
}

async fn an_offer_that_becomes_the_current_secret_has_no_end_any_more(_: Place, store: Store) {
    for grace in [DAY, Duration::ZERO] {
        let [old, new] = [format!("old {grace:?}"), format!("new {grace:?}")];
        let id = add_key(&store, &old).await;
        assert!(store.offer_secret(&id, hash(&new), NOW.plus(DAY * 8), NOW.plus(DAY)).await.unwrap());
        store.rotate_key(&id, secret(&new), grace, NOW).await.unwrap().unwrap();
        assert_eq!(standing(&store, &new, NOW.plus(DAY * 400)).await, Some(Standing::Good));
        assert_ne!(standing(&store, &old, NOW.plus(grace)).await, Some(Standing::Good));
    }
}

async fn nothing_is_offered_for_a_key_that_is_not_due_any_more(_: Place, store: Store) {
    let [rotated, revoked] = [add_key(&store, "rotated").await, add_key(&store, "revoked").await];
    store.rotate_key(&rotated, secret("newer"), DAY, NOW).await.unwrap();
    store.revoke_key(&revoked, NOW).await.unwrap();
    // Long before whatever time it is now: that of the rotation is noted by the store's own clock.
    let before = Timestamp::from_secs(1_000_000_000);
    for (id, secret_before) in [(&rotated, before), (&revoked, NOW.plus(DAY)), (&"nobody".into(), NOW.plus(DAY))] {
        assert!(!store.offer_secret(id, hash("offered"), NOW.plus(DAY), secret_before).await.unwrap(), "{id}");
    }
    assert_eq!(standing(&store, "offered", NOW).await, None);
}

async fn a_revocation_ends_every_secret_for_good(place: Place, store: Store) {
    let id = add_key(&store, "old").await;
    store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap();
    assert!(store.revoke_key(&id, NOW).await.unwrap());
    assert_eq!(standing(&store, "new", NOW).await, Some(Standing::Inactive));
    assert_eq!(standing(&store, "old", NOW).await, None);

    let enable = KeyChanges { is_active: Update::Set(true), ..KeyChanges::default() };
    for answer in
        [store.update_key(&id, enable).await.map(drop), store.rotate_key(&id, secret("newer"), DAY, NOW).await.map(drop)]
    {
        assert!(matches!(&answer, Err(StoreError::Refused(says)) if says.contains("was revoked")), "{answer:?}");
    }
    place.sql("UPDATE api_keys SET is_active = TRUE");
    assert_eq!(standing(&store, "new", NOW).await, Some(Standing::Inactive));
}

async fn a_second_revocation_keeps_the_time_of_the_first(_: Place, store: Store) {
    let id = add_key(&store, "k").await;
    store.revoke_key(&id, NOW).await.unwrap();
    store.revoke_key(&id, NOW.plus(DAY)).await.unwrap();
    assert_eq!(store.get_key(&id).await.unwrap().unwrap().revoked_at, Some(NOW));
    assert!(!store.revoke_key(&"nobody".into(), NOW).await.unwrap());
}

async fn an_update_sets_what_it_names_and_nothing_else(_: Place, store: Store) {
    let id = add_key(&store, "k").await;
    let changes = KeyChanges {
        name: Update::Set("another".to_owned()),
        rate_limit_per_hour: Update::Set(None),
        is_active: Update::Set(false),
        ..KeyChanges::default()
    };
    let updated = store.update_key(&id, changes.clone()).await.unwrap().unwrap();
    let wanted = KeyRecord { name: "another".to_owned(), rate_limit_per_hour: None, is_active: false, ..record("k") };
    assert_eq!(updated, wanted);
    assert_eq!(store.get_key(&id).await.unwrap(), Some(wanted));
    assert_eq!(store.update_key(&"nobody".into(), changes).await.unwrap(), None);
}

async fn of_two_updates_of_what_both_have_seen_one_is_refused_and_changes_nothing(place: Place, store: Store) {
    let id = add_key(&store, "k").await;
    store.touch_last_used(vec![(id.clone(), NOW)]).await.unwrap();
    let seen = record("k").version();
    let change = |name: &str| KeyChanges {
        only_if: Some(vec!["another".to_owned(), seen.clone()]),
        name: Update::Set(name.to_owned()),
        ..KeyChanges::default()
    };
    let other = place.store();
    let (one, two) = tokio::join!(store.update_key(&id, change("one")), other.update_key(&id, change("two")));
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    assert!(matches!(&lost, Err(StoreError::Changed(changed)) if *changed == id), "{lost:?}");
    assert_eq!(store.get_key(&id).await.unwrap().unwrap().name, won.unwrap().unwrap().name);
}

async fn expired_keys_are_deactivated_whatever_form_their_time_has(place: Place, store: Store) {
    for (key_id, expires_at) in [
        ("ours", "2026-11-22 10:00:00.000"),
        ("zulu", "2026-11-22T10:00:00Z"),
        ("offset", "2026-11-22T12:00:00+02:00"),
        ("later", "2026-11-22T10:00:00-01:00"),
    ] {
        store.insert_key(hash(key_id), record(key_id)).await.unwrap();
        place.sql(&format!("UPDATE api_keys SET expires_at = '{expires_at}' WHERE key_id = '{key_id}'"));
    }
    assert_eq!(store.deactivate_expired(NOW).await.unwrap(), 3);
    assert_eq!(store.deactivate_expired(NOW).await.unwrap(), 0);
    assert!(store.get_key(&"later".into()).await.unwrap().unwrap().is_active);
}
