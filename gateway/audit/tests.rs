//! The chain, in every kind of store.

use super::{Head, seal, verify};
use crate::store::testing::{Place, add_key, hold_on_every_store};
use crate::store::{KeyChanges, Store, Update};

hold_on_every_store! {
    a_chain_that_nobody_touched_is_whole,
    two_that_seal_at_once_make_one_chain,
    an_event_that_was_altered_is_found,
    an_event_that_was_removed_is_found,
    an_event_that_was_kept_out_of_the_chain_is_found,
    a_chain_that_was_cut_off_or_made_anew_does_not_hold_a_head_that_was_kept,
}

async fn sealed(store: &Store) -> String {
    for key in ["a", "b", "c"] {
        let id = add_key(store, key).await;
        let renamed = KeyChanges { name: Update::Set("é \"quoted\"".to_owned()), ..KeyChanges::default() };
        store.update_key(&id, renamed).await.unwrap();
    }
    seal(store).await.unwrap();
    verify(store, None).await.unwrap().head.unwrap()
}

/// What is wrong.
async fn breaks(store: &Store, kept: Option<&str>) -> Vec<String> {
    let kept = kept.map(|head| Head::parse(head).unwrap());
    let verdict = verify(store, kept.as_ref()).await.unwrap();
    assert_eq!(verdict.is_whole, verdict.breaks.is_empty());
    verdict.breaks
}

async fn a_chain_that_nobody_touched_is_whole(place: Place, store: Store) {
    assert!(verify(&store, None).await.unwrap().is_whole, "before anything happened");
    let head = sealed(&store).await;
    add_key(&store, "later").await;
    let verdict = verify(&place.store(), Some(&Head::parse(&head).unwrap())).await.unwrap();
    assert_eq!((verdict.is_whole, verdict.sealed, verdict.waiting, verdict.head.as_ref()), (true, 6, 1, Some(&head)));
    seal(&store).await.unwrap();
    assert_eq!(breaks(&store, Some(&head)).await, [""; 0]);
    assert_eq!(place.number("SELECT count(*) FROM api_key_events_unsealed"), 0);
}

async fn two_that_seal_at_once_make_one_chain(place: Place, store: Store) {
    for number in 0..40 {
        add_key(&store, &format!("key {number}")).await;
    }
    let other = place.store();
    let (one, two) = tokio::join!(seal(&store), seal(&other));
    one.and(two).unwrap();
    let verdict = verify(&store, None).await.unwrap();
    assert_eq!((verdict.is_whole, verdict.sealed, verdict.waiting), (true, 40, 0));
}

async fn an_event_that_was_altered_is_found(place: Place, store: Store) {
    sealed(&store).await;
    place.tamper("UPDATE api_key_events SET actor = 'somebody else' WHERE event_id = 3");
    assert_eq!(breaks(&store, None).await, ["event 3 at position 3 was changed, or its hash was"]);
}

async fn an_event_that_was_removed_is_found(place: Place, store: Store) {
    sealed(&store).await;
    place.tamper("DELETE FROM api_key_events WHERE event_id = 2");
    assert_eq!(breaks(&store, None).await, ["event 2 at position 2 is missing"]);
    place.tamper("DELETE FROM api_key_event_seals WHERE event_id IN (2, 3)");
    let expected = ["positions 2 to 3 are missing", "1 events are neither in the chain nor wait for it"];
    assert_eq!(breaks(&store, None).await, expected);
}

async fn an_event_that_was_kept_out_of_the_chain_is_found(place: Place, store: Store) {
    sealed(&store).await;
    add_key(&store, "hidden").await;
    place.sql("DELETE FROM api_key_events_unsealed");
    assert_eq!(breaks(&store, None).await, ["1 events are neither in the chain nor wait for it"]);
}

async fn a_chain_that_was_cut_off_or_made_anew_does_not_hold_a_head_that_was_kept(place: Place, store: Store) {
    let head = sealed(&store).await;
    place.tamper("DELETE FROM api_key_event_seals WHERE position = 6; DELETE FROM api_key_events WHERE event_id = 6");
    assert_eq!(breaks(&store, None).await, [""; 0], "nothing in the database can tell");
    assert!(breaks(&store, Some(&head)).await[0].contains("was cut off or made anew"));
    place.tamper(
        "DELETE FROM api_key_event_seals; UPDATE api_key_events SET actor = 'x'; \
         INSERT INTO api_key_events_unsealed SELECT event_id FROM api_key_events",
    );
    seal(&store).await.unwrap();
    assert_eq!(breaks(&store, None).await, [""; 0]);
    assert!(breaks(&store, Some(&head)).await[0].contains("was cut off or made anew"));
}
