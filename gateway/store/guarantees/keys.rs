//! Keys looked up and listed.

use std::time::Duration;

use crate::model::address::IpNetSet;
use crate::model::key_record::{FoundKey, KeyRecord};
use crate::model::timestamp::Timestamp;
use crate::store::testing::{NOW, Place, add_key, hash, hold_on_every_store, record, secret};
use crate::store::{KeyFilter, KeyListing, Store, StoreError};

hold_on_every_store! {
    a_key_reads_back_as_it_was_written,
    a_row_that_cannot_be_understood_is_an_error_for_its_key_and_hides_no_other,
    a_listing_has_the_oldest_first_and_only_what_was_asked_for,
    the_age_of_a_secret_counts_from_its_rotation_whoever_made_it,
    page_by_page_a_listing_has_every_row_once,
    a_secret_from_elsewhere_is_known_as_foreign_even_when_it_was_rotated_out,
}

const DAY: Duration = Duration::from_hours(24);

async fn a_key_reads_back_as_it_was_written(_: Place, store: Store) {
    let mut key = record("k");
    key.expires_at = Some(NOW.plus(DAY));
    key.rate_limit_per_hour = None;
    key.allowed_ips = IpNetSet::parse(&["10.0.0.0/8", "::1"]).unwrap();
    key.scopes = vec!["read".to_owned(), "write".to_owned()];
    store.insert_key(hash("k"), key.clone()).await.unwrap();

    let found = store.find_key(hash("k")).await.unwrap().unwrap();
    assert_eq!(found, FoundKey { hash: hash("k"), secret_expires_at: None, record: key.clone() });
    assert_eq!(store.get_key(&key.key_id).await.unwrap(), Some(key));
    assert_eq!(store.find_key(hash("other")).await.unwrap(), None);
}

async fn a_row_that_cannot_be_understood_is_an_error_for_its_key_and_hides_no_other(place: Place, store: Store) {
    let id = add_key(&store, "bad").await;
    add_key(&store, "good").await;
    for (column, value) in [("allowed_ips", "[\"10.0.0.0/99\"]"), ("scopes", "[1]")] {
        place.sql(&format!("UPDATE api_keys SET {column} = '{value}' WHERE key_id = 'bad'"));
        let names_it = |error: &StoreError| error.to_string().starts_with(&format!("api_keys row bad: {column}"));
        assert!(names_it(&store.find_key(hash("bad")).await.unwrap_err()));
        assert!(names_it(&store.get_key(&id).await.unwrap_err()));
        let listing = store.list_keys(&KeyFilter::default()).await.unwrap();
        assert_eq!(listing.keys, [record("good")]);
        assert!(listing.unreadable.len() == 1 && names_it(&listing.unreadable[0]));
        assert!(store.revoke_key(&id, NOW).await.unwrap(), "it can be revoked all the same");
        place.sql("UPDATE api_keys SET allowed_ips = NULL, scopes = NULL WHERE key_id = 'bad'");
    }
}

async fn a_listing_has_the_oldest_first_and_only_what_was_asked_for(_: Place, store: Store) {
    let ids = |listing: KeyListing| listing.keys.iter().map(|key| key.key_id.to_string()).collect::<Vec<_>>();
    let keys = [
        KeyRecord { created_at: NOW, ..record("newest") },
        KeyRecord { created_at: NOW.minus(DAY), is_active: false, ..record("disabled") },
        KeyRecord { created_at: NOW.minus(DAY * 2), expires_at: Some(NOW), ..record("expired") },
        KeyRecord { created_at: NOW.minus(DAY * 3), user_id: "bob".into(), ..record("bobs") },
    ];
    for key in keys {
        store.insert_key(hash(key.key_id.as_str()), key).await.unwrap();
    }
    let all = KeyFilter::default();
    let good = KeyFilter { good_at: Some(NOW), ..all.clone() };
    let bobs = KeyFilter { user_id: Some("bob".into()), ..all.clone() };
    let old = KeyFilter { created_before: Some(NOW.minus(DAY)), ..all.clone() };
    assert_eq!(ids(store.list_keys(&all).await.unwrap()), ["bobs", "expired", "disabled", "newest"]);
    assert_eq!(ids(store.list_keys(&good).await.unwrap()), ["bobs", "newest"]);
    assert_eq!(ids(store.list_keys(&bobs).await.unwrap()), ["bobs"]);
    assert_eq!(ids(store.list_keys(&old).await.unwrap()), ["bobs", "expired"]);
}

async fn the_age_of_a_secret_counts_from_its_rotation_whoever_made_it(place: Place, store: Store) {
    // The store notes a rotation by its own clock, which stands somewhere after 2001.
    let [created_at, in_2001] = [1_000_000, 1_000_000_000].map(Timestamp::from_secs);
    for key_id in ["kept", "renamed", "rotated", "by_hand"] {
        store.insert_key(hash(key_id), KeyRecord { created_at, ..record(key_id) }).await.unwrap();
    }
    store.rotate_key(&"rotated".into(), secret("new"), DAY, NOW).await.unwrap();
    place.sql(&format!("UPDATE api_keys SET key_hash = '{}' WHERE key_id = 'by_hand'", hash("newer").to_hex()));
    place.sql("UPDATE api_keys SET name = 'other', key_hash = key_hash WHERE key_id = 'renamed'");
    let due = KeyFilter { secret_before: Some(in_2001), ..KeyFilter::default() };
    let ids = |listing: KeyListing| listing.keys.iter().map(|key| key.key_id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(store.list_keys(&due).await.unwrap()), ["kept", "renamed"]);

    place.sql("UPDATE api_keys SET rotated_at = '2001-02-03T04:05:06Z' WHERE key_id = 'rotated'");
    for (second, ids_then) in [(6, vec!["kept", "renamed"]), (7, vec!["kept", "renamed", "rotated"])] {
        let before = Timestamp::parse(&format!("2001-02-03T04:05:0{second}Z"));
        let due = KeyFilter { secret_before: before, ..KeyFilter::default() };
        assert_eq!(ids(store.list_keys(&due).await.unwrap()), ids_then);
    }
}

async fn page_by_page_a_listing_has_every_row_once(place: Place, store: Store) {
    for number in 0..5 {
        // Two of each instant.
        let created_at = NOW.plus(DAY * (number / 2));
        let key = KeyRecord { created_at, ..record(&format!("k{number}")) };
        store.insert_key(hash(key.key_id.as_str()), key).await.unwrap();
    }
    place.sql("UPDATE api_keys SET scopes = '[1]' WHERE key_id = 'k1'");
    let mut page = KeyFilter { most: Some(2), ..KeyFilter::default() };
    let mut seen = Vec::new();
    loop {
        let listing = store.list_keys(&page).await.unwrap();
        assert!(listing.keys.len() + listing.unreadable.len() <= 2);
        seen.extend(listing.keys.iter().map(|key| key.key_id.to_string()));
        seen.extend(listing.unreadable.iter().map(|_| "unreadable".to_owned()));
        match listing.last {
            Some(last) => page.after = Some(last),
            None => break,
        }
    }
    assert_eq!(seen, ["k0", "unreadable", "k2", "k3", "k4"]);
}

async fn a_secret_from_elsewhere_is_known_as_foreign_even_when_it_was_rotated_out(place: Place, store: Store) {
    let id = add_key(&store, "k").await;
    assert!(!store.foreign_keys().await.unwrap().exist);
    place.sql("UPDATE api_keys SET minted = FALSE");
    assert!(store.foreign_keys().await.unwrap().exist);
    store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap();
    assert!(store.foreign_keys().await.unwrap().exist);
    store.rotate_key(&id, secret("newer"), Duration::ZERO, NOW).await.unwrap();
    assert!(!store.foreign_keys().await.unwrap().exist);
}
