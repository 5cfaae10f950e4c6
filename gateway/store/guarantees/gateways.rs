//! Gateways that say that they live, and confirm what they know.

use crate::store::testing::{Place, add_key, hold_on_every_store};
use crate::store::{ChangeFeed, Store};

hold_on_every_store! {
    a_gateway_is_listed_until_it_says_that_it_ends,
    a_gateway_confirms_only_what_it_has_applied,
}

/// A gateway that follows and has applied all until now.
async fn gateway(store: &Store, id: &str) -> ChangeFeed {
    let mut feed = ChangeFeed::new(store, id);
    feed.next().await.unwrap();
    feed.applied().await.unwrap();
    feed
}

async fn a_gateway_is_listed_until_it_says_that_it_ends(_: Place, store: Store) {
    let listed = async || {
        let reports = store.gateways().await.unwrap();
        assert!(reports.iter().all(|report| report.silent_for.as_secs() < 60));
        reports.into_iter().map(|report| report.gateway_id).collect::<Vec<_>>()
    };
    let (_b, _a) = (gateway(&store, "b").await, gateway(&store, "a").await);
    let _again = gateway(&store, "a").await;
    assert_eq!(listed().await, ["a", "b"]);
    store.forget_gateway("a").await.unwrap();
    assert_eq!(listed().await, ["b"]);
}

async fn a_gateway_confirms_only_what_it_has_applied(_: Place, store: Store) {
    let mut feeds = [gateway(&store, "a").await, gateway(&store, "b").await];
    let id = add_key(&store, "k").await;
    let question = store.ask_confirmation(&id).await.unwrap();
    for (feed, confirmed) in feeds.iter_mut().zip([&["a"][..], &["a", "b"]]) {
        let before = store.confirmed_by(question).await.unwrap();
        while feed.next().await.unwrap().changes.is_empty() {}
        assert_eq!(store.confirmed_by(question).await.unwrap(), before, "it was told, and has not applied it");
        feed.applied().await.unwrap();
        while store.confirmed_by(question).await.unwrap() == before {
            feed.next().await.unwrap();
            feed.applied().await.unwrap();
        }
        assert_eq!(store.confirmed_by(question).await.unwrap(), confirmed);
    }
    assert_eq!(store.confirmed_by(question + 1).await.unwrap(), [""; 0], "another question is another one's");
}
