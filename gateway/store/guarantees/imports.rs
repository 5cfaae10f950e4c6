//! Keys brought from elsewhere.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::model::bcrypt_hash::BcryptHash;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{KeyRecord, Standing};
use crate::store::testing::{NOW, Place, add_key, hash, hold_on_every_store, record, secret};
use crate::store::{Change, ChangeFeed, ForeignKeys, ImportedHash, ImportedKey, KeyFilter, Presence, Store, StoreError};

hold_on_every_store! {
    an_imported_key_reads_back_as_it_was_written,
    what_is_there_already_stays_as_it_is,
    what_is_there_of_a_key_is_told_apart,
    a_key_awaits_its_first_use_by_how_it_begins,
    a_first_use_is_noted_once_and_makes_no_secret_younger,
    a_secret_that_was_rotated_out_before_its_first_use_is_found_until_its_end_and_noted,
    who_follows_the_changes_hears_of_a_key_that_awaits_its_first_use,
    a_hash_that_cannot_be_verified_is_named_by_its_key,
}

const DAY: Duration = Duration::from_hours(24);

fn bcrypt(key: &str) -> BcryptHash {
    BcryptHash::parse(&bcrypt::hash(key, 4).unwrap()).unwrap()
}

fn plain(key_id: &str) -> ImportedKey {
    ImportedKey { hash: ImportedHash::Sha256(hash(key_id)), minted: false, record: record(key_id) }
}

fn awaiting(key_id: &str, bcrypt: &BcryptHash) -> ImportedKey {
    let record = KeyRecord { awaits_first_use: true, ..record(key_id) };
    ImportedKey { hash: ImportedHash::Bcrypt(bcrypt.clone()), minted: false, record }
}

async fn import<const KEYS: usize>(store: &Store, keys: [ImportedKey; KEYS]) -> usize {
    store.import_keys(Arc::new(keys)).await.unwrap()
}

async fn candidates(store: &Store, beginnings: &[&str]) -> Vec<BcryptHash> {
    store.awaiting_first_use(beginnings, 10).await.unwrap()
}

async fn awaited(store: &Store) -> u64 {
    store.foreign_keys().await.unwrap().awaiting_first_use
}

async fn an_imported_key_reads_back_as_it_was_written(_: Place, store: Store) {
    let mut key = plain("k");
    key.record.last_used_at = Some(NOW.minus(DAY));
    key.record.revoked_at = Some(NOW);
    key.record.is_active = false;
    assert_eq!(import(&store, [key.clone(), awaiting("b", &bcrypt("b"))]).await, 2);
    assert_eq!(store.find_key(hash("k")).await.unwrap().unwrap().record, key.record);
    assert!(store.get_key(&"b".into()).await.unwrap().unwrap().awaits_first_use);
    assert_eq!(store.foreign_keys().await.unwrap(), ForeignKeys { exist: true, awaiting_first_use: 1 });
}

async fn what_is_there_already_stays_as_it_is(_: Place, store: Store) {
    add_key(&store, "k").await;
    let hash_of_b = bcrypt("b");
    assert_eq!(import(&store, [plain("k"), awaiting("b", &hash_of_b)]).await, 1);
    let renamed = |key: ImportedKey| ImportedKey { record: KeyRecord { name: "other".into(), ..key.record }, ..key };
    let again = [renamed(plain("k")), renamed(awaiting("b", &hash_of_b)), renamed(awaiting("b2", &hash_of_b))];
    assert_eq!(import(&store, again).await, 0);
    let names = store.list_keys(&KeyFilter::default()).await.unwrap().keys;
    assert!(names.len() == 2 && names.iter().all(|key| key.name == "a name"), "{names:?}");
}

async fn what_is_there_of_a_key_is_told_apart(_: Place, store: Store) {
    let id = add_key(&store, "k").await;
    let (used, rotated) = (bcrypt("used"), plain("rotated"));
    import(&store, [awaiting("used", &used), rotated.clone()]).await;
    store.note_first_use(&used, hash("used")).await.unwrap();
    store.rotate_key(&"rotated".into(), secret("newer"), Duration::ZERO, NOW).await.unwrap();
    store.rotate_key(&id, secret("new"), DAY, NOW).await.unwrap();
    let of = |hash: &str, key_id: &str| ImportedKey { record: record(key_id), ..plain(hash) };
    let asked = [
        (of("nothing", "of it"), Presence::New),
        (of("nothing", "k"), Presence::IdTaken),
        (of("new", "of it"), Presence::There),
        (of("k", "rotated out for a while"), Presence::There),
        (awaiting("of it", &used), Presence::There),
        (rotated, Presence::There),
    ];
    let (keys, expected): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    assert_eq!(store.presence_of(keys.into()).await.unwrap(), expected);
}

async fn a_key_awaits_its_first_use_by_how_it_begins(place: Place, store: Store) {
    let [near, far, revoked] = ["near", "far", "revoked"].map(bcrypt);
    let mut longer = awaiting("near", &near);
    longer.record.key_prefix = "hk_live_abcd".to_owned();
    import(&store, [longer, awaiting("far", &far), awaiting("revoked", &revoked), plain("plain")]).await;
    store.revoke_key(&"revoked".into(), NOW).await.unwrap();
    assert_eq!(candidates(&store, &["hk_live_abc", "hk_live_abcd"]).await, [near.clone(), far.clone()]);
    assert_eq!(candidates(&store, &["hk_live_abcd", "hk_live_abcde"]).await, slice::from_ref(&near));
    assert_eq!(candidates(&store, &["hk_live_ab"]).await, []);
    assert_eq!(store.awaiting_first_use(&["hk_live_abc", "hk_live_abcd"], 1).await.unwrap(), [near]);
    assert_eq!(awaited(&store).await, 2);
    let await_it = store.list_keys(&KeyFilter::default()).await.unwrap().keys.into_iter().filter(|key| key.awaits_first_use);
    assert_eq!(await_it.map(|key| key.key_id.to_string()).collect::<Vec<_>>(), ["far", "near"]);
    place.sql("DELETE FROM api_keys WHERE key_id IN ('near', 'far')");
    assert_eq!(awaited(&store).await, 0);
}

async fn a_first_use_is_noted_once_and_makes_no_secret_younger(place: Place, store: Store) {
    let hash_of_b = bcrypt("b");
    import(&store, [awaiting("b", &hash_of_b)]).await;
    let both = [store.note_first_use(&hash_of_b, hash("b")), store.note_first_use(&hash_of_b, hash("other"))];
    assert!(futures_util::future::join_all(both).await.into_iter().all(|noted| noted.is_ok()));
    let found = [hash("b"), hash("other")].map(|hash| store.find_key(hash));
    let found: Vec<_> = futures_util::future::join_all(found).await.into_iter().filter_map(Result::unwrap).collect();
    let record = KeyRecord { key_prefix: "hk_live_abc".into(), ..record("b") };
    assert_eq!(found.iter().map(|key| &key.record).collect::<Vec<_>>(), [&record]);
    assert_eq!(store.foreign_keys().await.unwrap(), ForeignKeys { exist: true, awaiting_first_use: 0 });
    assert_eq!(place.number("SELECT count(*) FROM api_keys WHERE rotated_at = created_at AND imported_hash LIKE '$2%'"), 1);
}

async fn a_secret_that_was_rotated_out_before_its_first_use_is_found_until_its_end_and_noted(_: Place, store: Store) {
    // The store judges by its own clock whether it has ended.
    let (now, [hash_of_b, ended]) = (clock::now(), ["b", "ended"].map(bcrypt));
    import(&store, [awaiting("b", &hash_of_b), awaiting("ended", &ended)]).await;
    store.rotate_key(&"b".into(), secret("new"), DAY, now).await.unwrap();
    store.rotate_key(&"ended".into(), secret("newer"), DAY, now.minus(2 * DAY)).await.unwrap();
    assert!(!store.get_key(&"b".into()).await.unwrap().unwrap().awaits_first_use, "its current secret is known");
    assert_eq!(awaited(&store).await, 1);
    assert_eq!(candidates(&store, &["hk_live_abc"]).await, slice::from_ref(&hash_of_b));
    store.note_first_use(&hash_of_b, hash("b")).await.unwrap();
    let found = store.find_key(hash("b")).await.unwrap().unwrap();
    assert_eq!((found.validity().standing(now), found.validity().standing(now.plus(DAY))), (Standing::Good, Standing::Expired));
    assert_eq!(awaited(&store).await, 0);
}

async fn who_follows_the_changes_hears_of_a_key_that_awaits_its_first_use(_: Place, store: Store) {
    let mut feed = ChangeFeed::new(&store, "gateway");
    feed.next().await.unwrap();
    feed.applied().await.unwrap();
    let hash_of_b = bcrypt("b");
    import(&store, [awaiting("b", &hash_of_b)]).await;
    store.note_first_use(&hash_of_b, hash("b")).await.unwrap();
    let mut heard = Vec::new();
    while !heard.contains(&Change::Secret(hash("b"))) {
        heard.extend(feed.next().await.unwrap().changes);
        feed.applied().await.unwrap();
    }
    assert_eq!(heard[0], Change::AnyUnknown);
}

async fn a_hash_that_cannot_be_verified_is_named_by_its_key(place: Place, store: Store) {
    import(&store, [awaiting("b", &bcrypt("b"))]).await;
    place.sql("UPDATE api_keys SET key_hash = '$2b$31$' || substr(key_hash, 8)");
    let refusal = store.awaiting_first_use(&["hk_live_abc"], 10).await.unwrap_err();
    assert!(
        matches!(&refusal, StoreError::BadRecord { key_id, says } if key_id == "b" && says.contains("cost 31")),
        "{refusal:?}"
    );
    assert_eq!(store.find_key(KeyHash::of(b"another")).await.unwrap(), None);
}
