use std::cell::Cell;
use std::slice;

use serde_json::{Value, json};

use super::*;
use crate::model::api_key::{ApiKey, Environment};
use crate::model::bcrypt_hash::BcryptHash;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{KeyRecord, Standing};
use crate::store::KeyFilter;
use crate::store::sqlite::testing::{Folder, NOW, add_key};

const KEY: &str = "a-key-from-elsewhere-1";
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

fn defaults() -> Defaults {
    Defaults { user_id: Some("ann".into()), rate_limit_per_hour: Some(7), prefix: "hk".to_owned(), now: NOW }
}

fn fields(fields: &Value) -> Fields {
    fields.as_object().unwrap().clone()
}

fn read(entry: &Value) -> Result<ImportedKey, Vec<String>> {
    entry::read(fields(entry), &defaults())
}

/// With a key, and this besides.
fn with(name: &str, value: impl Into<Value>) -> Result<ImportedKey, Vec<String>> {
    let mut entry = fields(&json!({"key": KEY}));
    entry.insert(name.to_owned(), value.into());
    entry::read(entry, &defaults())
}

fn record(name: &str, value: impl Into<Value>) -> KeyRecord {
    with(name, value).unwrap().record
}

#[test]
fn a_key_alone_is_a_key_with_what_holds_for_all() {
    let ImportedKey { hash, minted, record } = read(&json!({"key": KEY, "name": "", "scopes": null})).unwrap();
    assert_eq!((hash, minted), (ImportedHash::Sha256(KeyHash::of(KEY.as_bytes())), false));
    let expected = KeyRecord {
        key_id: record.key_id.clone(),
        key_prefix: "a-ke".to_owned(),
        user_id: "ann".into(),
        name: "imported".to_owned(),
        environment: Environment::Production,
        created_at: NOW,
        expires_at: None,
        last_used_at: None,
        is_active: true,
        revoked_at: None,
        rate_limit_per_hour: Some(7),
        allowed_ips: crate::model::address::IpNetSet::default(),
        scopes: vec![],
        awaits_first_use: false,
    };
    assert_eq!(record, expected);
}

#[test]
fn every_field_is_taken_as_other_tables_write_it() {
    assert_eq!(record("user_id", 17).user_id.as_str(), "17");
    assert_eq!(record("key_id", "5f0c").key_id.as_str(), "5f0c");
    assert_eq!(record("environment", "test").environment, Environment::Test);
    for time in ["2026-01-02 03:04:05+00", "2026-01-02T03:04:05.000000", "2026-01-02T03:04:05Z"] {
        assert_eq!(record("expires_at", time).expires_at, Timestamp::parse("2026-01-02T03:04:05Z"), "{time}");
    }
    for no in [json!(false), json!("f"), json!("False"), json!("0"), json!(0)] {
        assert!(!record("is_active", no).is_active);
    }
    assert!(record("is_active", "t").is_active && record("is_active", true).is_active);
    assert_eq!(record("rate_limit_per_hour", "none").rate_limit_per_hour, None);
    assert_eq!(record("rate_limit_per_hour", 5).rate_limit_per_hour, Some(5));
    for list in
        [json!(["10.0.0.0/8", "::1"]), json!("[\"10.0.0.0/8\", \"::1\"]"), json!("10.0.0.0/8, ::1"), json!("10.0.0.0/8 ::1")]
    {
        assert_eq!(record("allowed_ips", list).allowed_ips.to_strings(), ["10.0.0.0/8", "::1"]);
    }
    assert_eq!(record("scopes", json!(["read", "write"])).scopes, ["read", "write"]);
    assert_eq!(record("revoked_at", "2026-01-01").standing(NOW), Standing::Inactive);
}

#[test]
fn a_hash_is_taken_in_the_place_of_a_key() {
    let sha256 = KeyHash::of(KEY.as_bytes());
    let known = read(&json!({"key_hash": sha256.to_hex().to_uppercase()})).unwrap();
    assert_eq!((known.hash, known.record.awaits_first_use), (ImportedHash::Sha256(sha256), false));
    for name in ["key_hash", "bcrypt_hash"] {
        let awaiting = read(&json!({name: BCRYPT, "key_prefix": "hk_live_abc"})).unwrap();
        assert_eq!(awaiting.hash, ImportedHash::Bcrypt(BcryptHash::parse(BCRYPT).unwrap()));
        assert!(awaiting.record.awaits_first_use && awaiting.record.key_prefix == "hk_live_abc");
    }
    let revoked = read(&json!({"bcrypt_hash": BCRYPT, "key_prefix": "hk_live_abc", "revoked_at": "2026-01-01"})).unwrap();
    assert!(!revoked.record.awaits_first_use);
}

#[test]
fn a_key_with_our_checksum_stays_one_and_shows_as_much_as_ours_do() {
    let key = ApiKey::mint("hk", Environment::Test).unwrap();
    let imported = read(&json!({"key": key.expose()})).unwrap();
    assert!(imported.minted && imported.record.key_prefix == key.shown_prefix());
}

#[test]
fn all_that_is_wrong_with_a_key_is_told_by_the_name_of_the_field_and_nothing_that_stands_there() {
    let secret = "SECRET-in-a-wrong-field{\"";
    let wrong: Fields =
        FIELDS.iter().filter(|name| !name.ends_with("hash")).map(|name| ((*name).to_owned(), secret.into())).collect();
    let mut faults = entry::read(wrong, &defaults()).unwrap_err();
    faults.extend(read(&json!({"key_hash": secret, "user_id": "a\tb", "name": [secret], secret: 1})).unwrap_err());
    faults.extend(read(&json!({"bcrypt_hash": secret, "allowed": secret})).unwrap_err());
    for name in FIELDS.iter().filter(|name| !["key", "key_id"].contains(name)) {
        assert!(faults.iter().any(|fault| fault.starts_with(&format!("{name}: "))), "{name}: {faults:#?}");
    }
    assert!(faults.iter().any(|fault| fault.contains("`allowed` is not known")), "{faults:#?}");
    assert!(!faults.iter().any(|fault| fault.contains("SECRET")), "{faults:#?}");
}

#[test]
fn what_is_no_key_is_refused() {
    let bcrypt = |prefix: &str| json!({"bcrypt_hash": BCRYPT, "key_prefix": prefix});
    let sha256_of_prefix = json!({"key_hash": KeyHash::of(b"the-whole-of-a-key").to_hex(), "key_prefix": "the-whole-of-a-key"});
    let wrong = [
        (json!({}), "key: exactly one"),
        (json!({"key": KEY, "key_hash": KeyHash::of(b"x").to_hex()}), "key: exactly one"),
        (json!({"key": "too-short"}), "key: "),
        (json!({"key": "with a space in it"}), "key: "),
        (json!({"key_hash": "abc"}), "key_hash: "),
        (
            json!({"bcrypt_hash": BCRYPT.replace("$05$", "$31$"), "key_prefix": "hk_live_abc"}),
            "bcrypt_hash: is a bcrypt hash of cost 31",
        ),
        (json!({"bcrypt_hash": BCRYPT}), "key_prefix: the first 4 to 24"),
        (bcrypt("abc"), "key_prefix: "),
        (bcrypt("hk_live_abc..."), "key_prefix: "),
        (bcrypt("hk_live_abc***"), "key_prefix: "),
        (json!({"key": KEY, "key_prefix": "b-key"}), "key_prefix: "),
        (json!({"key": KEY, "key_prefix": KEY}), "key_prefix: "),
        (sha256_of_prefix, "key_prefix: is the whole key"),
        (json!({"key": KEY, "key_prefix": "é"}), "key_prefix: "),
    ];
    for (entry, expected) in wrong {
        let faults = read(&entry).unwrap_err();
        assert!(faults.len() == 1 && faults[0].starts_with(expected), "{entry}: {faults:?}");
    }
    for (name, value) in [
        ("environment", json!("prod")),
        ("is_active", json!("maybe")),
        ("rate_limit_per_hour", json!(0)),
        ("rate_limit_per_hour", json!(1.5)),
        ("allowed_ips", json!(["10.0.0"])),
        ("allowed_ips", json!({})),
        ("scopes", json!("{read,write}")),
        ("scopes", json!([1])),
        ("key_id", json!("a b")),
    ] {
        let faults = with(name, value.clone()).unwrap_err();
        assert!(faults.len() == 1 && faults[0].starts_with(name), "{name} {value}: {faults:?}");
    }
}

#[test]
fn without_a_user_for_all_each_key_needs_one() {
    let nobody = Defaults { user_id: None, ..defaults() };
    let faults = entry::read(fields(&json!({"key": KEY})), &nobody).unwrap_err();
    assert!(faults[0].starts_with("user_id: ") && faults[0].contains("--user"), "{faults:?}");
}

fn import(entries: impl IntoIterator<Item = Value>) -> Import {
    let mut import = Import::new(defaults());
    (1..).zip(entries).for_each(|(line, entry)| import.add(line, fields(&entry)));
    import
}

#[test]
fn a_key_that_came_before_is_told_with_its_line() {
    let same = import([
        json!({"key": KEY, "key_id": "a"}),
        json!({"key_hash": KeyHash::of(KEY.as_bytes()).to_hex()}),
        json!({"key": format!("{KEY}2"), "key_id": "a"}),
    ]);
    let says: Vec<_> = same.into_faults().into_iter().map(|fault| (fault.line, fault.says)).collect();
    let expected = [(2, "the key is the same as in line 1".to_owned()), (3, "key_id: the same as in line 1".to_owned())];
    assert_eq!(says, expected);
}

#[test]
fn more_bcrypt_hashes_that_begin_alike_than_are_tried_are_too_many() {
    let hash = |number: usize| format!("$2b$05$CCCCCCCCCCCCCCCCCCCC{number:02}E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
    let alike = import(
        (10..=10 + TRIED).map(|number| json!({"bcrypt_hash": hash(number).replace('1', "u"), "key_prefix": "hk_live_abc"})),
    );
    let faults = alike.into_faults();
    assert_eq!(faults.last().map(|fault| fault.line), Some(TRIED as u64 + 1), "{faults:?}");
}

#[tokio::test]
async fn what_is_there_is_counted_and_left_and_an_id_that_is_taken_is_a_fault_of_its_line() {
    let (_folder, store) = Folder::migrated().await;
    add_key(&store, "taken").await;
    let entries = || (0..=BATCH).map(|number| json!({"key": format!("{KEY}-{number}")}));
    let advanced = Cell::new(0);
    let count = |keys| advanced.set(advanced.get() + keys);
    let plan = import(entries()).compare(&store, count).await.unwrap();
    assert_eq!((plan.new.len(), plan.already_there, advanced.take()), (BATCH + 1, 0, BATCH + 1));
    assert_eq!(plan.write(&store, count).await.unwrap(), BATCH + 1);
    assert_eq!(advanced.take(), BATCH + 1);

    let again = entries().chain([json!({"key": format!("{KEY}-new"), "key_id": "taken"})]);
    let plan = import(again).compare(&store, count).await.unwrap();
    assert_eq!((plan.new.len(), plan.already_there), (0, BATCH + 1));
    assert_eq!(plan.faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [BATCH as u64 + 2]);
    assert_eq!(store.list_keys(&KeyFilter::default()).await.unwrap().keys.len(), BATCH + 2);
}

#[tokio::test]
async fn a_key_that_was_imported_meanwhile_is_not_counted_as_new() {
    let (_folder, store) = Folder::migrated().await;
    let entry = json!({"key": KEY});
    let plans =
        [import([entry.clone()]), import(slice::from_ref(&entry).iter().cloned())].map(|import| import.compare(&store, |_| {}));
    let plans = futures_util::future::join_all(plans).await.into_iter().map(Result::unwrap);
    let mut written = Vec::new();
    for plan in plans {
        written.push(plan.write(&store, |_| {}).await.unwrap());
    }
    assert_eq!(written, [1, 0]);
}
