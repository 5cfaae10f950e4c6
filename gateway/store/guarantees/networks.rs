//! Where keys are used from.

use std::sync::Arc;

use crate::store::testing::{Place, hold_on_every_store};
use crate::store::{KeyNetwork, Store};

hold_on_every_store! {
    a_network_is_new_once_over_all_gateways_and_the_first_of_a_key_is_not,
    of_a_key_that_was_everywhere_no_more_is_kept,
}

/// Those that were new.
async fn noted(store: &Store, used: &[(&str, &str)]) -> Vec<String> {
    let used = used.iter().map(|(key, network)| KeyNetwork { key_id: (*key).into(), network: network.parse().unwrap() });
    let new = store.note_networks(used.collect::<Arc<_>>()).await.unwrap();
    new.iter().map(|new| format!("{} {}", new.key_network.key_id, new.key_network.network)).collect()
}

async fn a_network_is_new_once_over_all_gateways_and_the_first_of_a_key_is_not(place: Place, store: Store) {
    let (office, home, abroad) = ("192.0.2.0/24", "198.51.100.0/24", "2001:db8:1::/48");
    assert_eq!(noted(&store, &[("a", office), ("a", home), ("b", office)]).await, [""; 0], "none was met before");
    let other = place.store();
    assert_eq!(noted(&other, &[("a", office), ("a", abroad), ("a", abroad)]).await, ["a 2001:db8:1::/48"]);
    assert_eq!(noted(&store, &[("a", abroad)]).await, [""; 0]);
    let b_at_home = [("b", home)];
    let (one, two) = tokio::join!(noted(&store, &b_at_home), noted(&other, &b_at_home));
    assert_eq!([one, two].concat(), ["b 198.51.100.0/24"]);
}

async fn of_a_key_that_was_everywhere_no_more_is_kept(place: Place, store: Store) {
    for number in 0..300_u32 {
        noted(&store, &[("a", &format!("10.{}.{}.0/24", number / 250, number % 250))]).await;
    }
    assert_eq!(place.number("SELECT count(*) FROM api_key_networks"), 256);
}
