//! Keys of which only a bcrypt hash is known, until they are used.

use futures_util::FutureExt;
use futures_util::future::{join, join_all};

use super::*;
use crate::model::bcrypt_hash::{BcryptHash, TRIED};
use crate::model::key_record::KeyRecord;
use crate::store::testing::record;
use crate::store::{ImportedHash, ImportedKey};

hold_on_every_store! {
    a_key_is_proven_by_its_first_use_and_like_any_other_from_then_on,
    gateways_that_see_the_first_use_at_once_all_let_it_in,
    a_key_that_may_not_be_used_stays_refused_by_its_first_use,
    once_no_key_awaits_its_first_use_nothing_is_asked_for_it,
}

/// All begin as the record's prefix says.
const SECRET: &str = "hk_live_abc-the-rest-of-it";
const WRONG: &str = "hk_live_abc-another-rest-of-it";

async fn import(store: &Store, secret: &str, cost: u32, record: KeyRecord) {
    let hash = BcryptHash::parse(&bcrypt::hash(secret, cost).unwrap()).unwrap();
    let key = ImportedKey { hash: ImportedHash::Bcrypt(hash), minted: false, record };
    assert_eq!(store.import_keys(Arc::new([key])).await.unwrap(), 1);
}

impl Gateway {
    fn verified(&self, result: LookupResult) -> u64 {
        self.metrics.lookups(Layer::Bcrypt, result)
    }

    async fn answer(&self, secret: &str) -> Answer {
        self.lookup.find(hash(secret), secret.as_bytes(), clock::monotonic()).await
    }

    fn asks_for_first_uses(&self) -> bool {
        self.lookup.awaiting_first_use.load(Ordering::Relaxed)
    }
}

async fn a_key_is_proven_by_its_first_use_and_like_any_other_from_then_on(place: Place, store: Store) {
    let gateway = Gateway::start("gateway", store.clone()).await;
    assert_eq!(gateway.standing(SECRET).await, None);
    import(&store, SECRET, 4, record("b")).await;
    // It was remembered as unknown.
    eventually(async || gateway.standing(SECRET).await == Some(Standing::Good)).await;
    assert_eq!(place.number(&format!("SELECT count(*) FROM api_keys WHERE key_hash = '{}'", hash(SECRET).to_hex())), 1);
    assert_eq!(gateway.standing(WRONG).await, None);

    let later = Gateway::start_beside("later", place.store()).await;
    for gateway in [&gateway, &later] {
        for _ in 0..3 {
            assert_eq!(gateway.standing(SECRET).await, Some(Standing::Good));
        }
    }
    assert_eq!((gateway.verified(LookupResult::Hit), later.verified(LookupResult::Hit)), (1, 0));
    store.revoke_key(&"b".into(), NOW).await.unwrap();
    for gateway in [gateway, later] {
        eventually(async || gateway.standing(SECRET).await == Some(Standing::Inactive)).await;
    }
}

async fn gateways_that_see_the_first_use_at_once_all_let_it_in(place: Place, store: Store) {
    let gateways = [Gateway::start("a", place.store()).await, Gateway::start("b", place.store()).await];
    let secrets: Vec<String> = (0..10).map(|number| format!("hk_live_abc-the-rest-of-{number}")).collect();
    for secret in &secrets {
        import(&store, secret, 4, record(secret)).await;
    }
    eventually(async || gateways.iter().all(|gateway| gateway.metrics.keys_awaiting_first_use.get() == 10)).await;
    for secret in &secrets {
        let standings = join_all(gateways.iter().map(|gateway| gateway.standing(secret))).await;
        assert_eq!(standings, [Some(Standing::Good); 2], "{secret}");
    }
}

async fn a_key_that_may_not_be_used_stays_refused_by_its_first_use(_: Place, store: Store) {
    let gateway = Gateway::start("gateway", store.clone()).await;
    import(&store, "hk_live_abc-disabled", 4, KeyRecord { is_active: false, ..record("disabled") }).await;
    import(&store, "hk_live_abc-expired", 4, KeyRecord { expires_at: Some(NOW), ..record("expired") }).await;
    import(&store, "hk_live_abc-revoked", 4, KeyRecord { revoked_at: Some(NOW), ..record("revoked") }).await;
    eventually(async || gateway.asks_for_first_uses()).await;
    assert_eq!(gateway.standing("hk_live_abc-disabled").await, Some(Standing::Inactive));
    assert_eq!(gateway.standing("hk_live_abc-expired").await, Some(Standing::Expired));
    assert_eq!(gateway.standing("hk_live_abc-revoked").await, None);
}

async fn once_no_key_awaits_its_first_use_nothing_is_asked_for_it(place: Place, store: Store) {
    let gateway = Gateway::start("gateway", store.clone()).await;
    for key_id in ["used", "deleted"] {
        import(&store, &format!("hk_live_abc-{key_id}-a-key"), 4, record(key_id)).await;
    }
    eventually(async || gateway.metrics.keys_awaiting_first_use.get() == 2).await;
    assert_eq!(gateway.standing("hk_live_abc-used-a-key").await, Some(Standing::Good));
    eventually(async || gateway.metrics.keys_awaiting_first_use.get() == 1).await;
    place.sql("DELETE FROM api_keys WHERE key_id = 'deleted'");
    eventually(async || !gateway.asks_for_first_uses()).await;
    assert!(gateway.lookup.store_has_foreign_keys(), "it has no checksum of ours all the same");
    place.sql("DELETE FROM api_keys");
    eventually(async || !gateway.lookup.store_has_foreign_keys()).await;
}

/// With a prefix that is right: each would have to be verified.
#[tokio::test]
async fn a_flood_of_wrong_keys_finds_few_places_and_delays_no_known_key() {
    let (_place, store) = Place::sqlite().await;
    add_key(&store, "k").await;
    let gateway = Gateway::start("gateway", store.clone()).await;
    import(&store, SECRET, 10, record("b")).await;
    eventually(async || gateway.asks_for_first_uses()).await;
    assert_eq!(gateway.standing("k").await, Some(Standing::Good));
    let wrong: Vec<String> = (0..200).map(|number| format!("{WRONG}-{number}")).collect();
    let flood = join_all(wrong.iter().map(|secret| gateway.answer(secret)));
    // Polled when all of the flood has been once, and then again and again.
    let meanwhile = async {
        while gateway.verified(LookupResult::Error) < 100 {
            assert!(matches!(gateway.answer("k").now_or_never(), Some(Ok(Some(_)))), "a known key waits for nothing");
            tokio::task::yield_now().await;
        }
    };
    let (answers, ()) = join(flood, meanwhile).await;
    let refused = answers.iter().filter(|answer| matches!(answer, Ok(None))).count();
    let unavailable = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Unavailable(_)))).count();
    assert!(refused > 0 && unavailable >= 100 && refused + unavailable == 200, "{refused} refused, {unavailable} unavailable");
    assert_eq!(gateway.standing(SECRET).await, Some(Standing::Good), "a real one finds a place again");
}

#[tokio::test]
async fn of_more_keys_that_begin_alike_than_are_tried_nobody_says_that_one_does_not_exist() {
    let (_place, store) = Place::sqlite().await;
    let gateway = Gateway::start("gateway", store.clone()).await;
    for number in 0..=TRIED {
        import(&store, &format!("hk_live_abc-number-{number}"), 4, record(&number.to_string())).await;
    }
    eventually(async || gateway.asks_for_first_uses()).await;
    assert!(matches!(gateway.answer(WRONG).await, Err(StoreError::Unavailable(says)) if says.contains("begin alike")));
    let mut found = 0;
    for number in 0..=TRIED {
        match gateway.answer(&format!("hk_live_abc-number-{number}")).await {
            Ok(answer) => found += usize::from(answer.is_some()),
            Err(_) => assert!(number < TRIED, "there was room after the first was used"),
        }
    }
    assert!(found >= TRIED, "{found}");
}

#[tokio::test]
async fn a_key_that_bcrypt_cannot_see_the_end_of_is_no_key() {
    let (_place, store) = Place::sqlite().await;
    let gateway = Gateway::start("gateway", store.clone()).await;
    let longest = format!("hk_live_abc{}", "x".repeat(61));
    import(&store, &longest, 4, record("b")).await;
    eventually(async || gateway.asks_for_first_uses()).await;
    assert_eq!(gateway.standing(&format!("{longest}y")).await, None);
    assert_eq!(gateway.standing(&longest).await, Some(Standing::Good));
}
