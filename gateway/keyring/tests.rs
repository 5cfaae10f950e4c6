//! Keys made, changed, rotated and revoked in a real store.

use super::*;
use crate::model::api_key::Form;
use crate::model::key_record::Standing;
use crate::store::sqlite::testing::{Folder, NOW};

const HOUR: Duration = Duration::from_hours(1);

fn new_key() -> NewKey {
    NewKey {
        user_id: "alice".into(),
        name: "a name".to_owned(),
        environment: Environment::Test,
        expires_at: None,
        rate_limit_per_hour: Some(10),
        allowed_ips: IpNetSet::default(),
        scopes: vec!["models:read".to_owned()],
        most_together: None,
    }
}

#[tokio::test]
async fn a_created_key_is_found_by_its_text_and_stored_only_as_a_hash() {
    let (folder, store) = Folder::migrated().await;
    let created = create(&store, "hk", new_key(), NOW).await.unwrap();
    assert_eq!(Form::of(created.key.expose().as_bytes(), "hk"), Form::Ours);
    assert_eq!(created.record.key_prefix, created.key.shown_prefix());
    let found = store.find_key(created.key.hash()).await.unwrap().unwrap();
    assert_eq!((found.validity().standing(NOW), &found.record), (Standing::Good, &created.record));
    assert_eq!(show(&store, &created.record.key_id).await.unwrap(), created.record);
    assert_eq!(list(&store, &KeyFilter::default()).await.unwrap().keys, [created.record]);

    folder.shell().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let stored = std::fs::read(folder.file()).unwrap();
    let holds = |text: &str| stored.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&created.key.hash().to_hex()));
    assert!(!holds(created.key.expose()));
}

#[tokio::test]
async fn a_rotated_key_has_a_new_text_of_the_same_environment_and_the_old_one_for_a_while() {
    let (_folder, store) = Folder::migrated().await;
    let created = create(&store, "hk", new_key(), NOW).await.unwrap();
    let id = &created.record.key_id;
    let rotated = rotate(&store, "hk", id, HOUR, NOW).await.unwrap();
    assert!(rotated.key.expose().starts_with("hk_test_"));
    assert_eq!(rotated.previous_valid_until, Some(NOW.plus(HOUR)));
    assert_eq!(show(&store, id).await.unwrap(), rotated.record);
    for key in [&created.key, &rotated.key] {
        assert_eq!(store.find_key(key.hash()).await.unwrap().unwrap().validity().standing(NOW), Standing::Good);
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_is_named() {
    let (_folder, store) = Folder::migrated().await;
    let id = KeyId::from("key_nobody");
    let answers = [
        show(&store, &id).await.map(drop),
        update(&store, &id, KeyChanges::default(), NOW).await.map(drop),
        rotate(&store, "hk", &id, HOUR, NOW).await.map(drop),
        revoke(&store, &id, NOW).await,
    ];
    for answer in answers {
        assert_eq!(answer.unwrap_err().to_string(), "there is no key key_nobody");
    }
}

#[tokio::test]
async fn what_a_key_cannot_be_is_refused_by_the_name_of_the_field_and_nothing_is_stored() {
    let (_folder, store) = Folder::migrated().await;
    let wrong = [
        ("user", NewKey { user_id: " ".into(), ..new_key() }),
        ("name", NewKey { name: String::new(), ..new_key() }),
        ("name", NewKey { name: "a\nb".to_owned(), ..new_key() }),
        ("name", NewKey { name: "é".repeat(256), ..new_key() }),
        ("expires_at", NewKey { expires_at: Some(NOW), ..new_key() }),
        ("rate_limit", NewKey { rate_limit_per_hour: Some(0), ..new_key() }),
        ("rate_limit", NewKey { rate_limit_per_hour: Some(u64::MAX), ..new_key() }),
        ("scopes", NewKey { scopes: vec![String::new()], ..new_key() }),
        ("scopes", NewKey { scopes: vec!["read".to_owned(), "a b".to_owned()], ..new_key() }),
        ("scopes", NewKey { scopes: vec!["a\"b".to_owned()], ..new_key() }),
    ];
    for (wanted, new) in wrong {
        let shown = format!("{new:?}");
        let refusal = create(&store, "hk", new, NOW).await.unwrap_err();
        assert!(matches!(refusal, KeyringError::Invalid { field, .. } if field == wanted), "{shown}");
    }
    assert!(list(&store, &KeyFilter::default()).await.unwrap().keys.is_empty());
    create(&store, "hk", NewKey { name: "é".repeat(255), ..new_key() }, NOW).await.unwrap();
}

#[tokio::test]
async fn an_update_is_held_to_the_same_rules() {
    let (_folder, store) = Folder::migrated().await;
    let id = create(&store, "hk", new_key(), NOW).await.unwrap().record.key_id;
    let wrong = [
        ("user", KeyChanges { user_id: Update::Set("".into()), ..KeyChanges::default() }),
        ("name", KeyChanges { name: Update::Set("\t".to_owned()), ..KeyChanges::default() }),
        ("expires_at", KeyChanges { expires_at: Update::Set(Some(NOW)), ..KeyChanges::default() }),
        ("rate_limit", KeyChanges { rate_limit_per_hour: Update::Set(Some(0)), ..KeyChanges::default() }),
        ("scopes", KeyChanges { scopes: Update::Set(vec!["\\".to_owned()]), ..KeyChanges::default() }),
    ];
    for (wanted, changes) in wrong {
        let refusal = update(&store, &id, changes, NOW).await.unwrap_err();
        assert!(matches!(refusal, KeyringError::Invalid { field, .. } if field == wanted), "{wanted}");
    }
    let unlimited = KeyChanges { rate_limit_per_hour: Update::Set(None), ..KeyChanges::default() };
    assert_eq!(update(&store, &id, unlimited, NOW).await.unwrap().rate_limit_per_hour, None);
}

#[tokio::test]
async fn a_revoked_key_cannot_be_enabled_again() {
    let (_folder, store) = Folder::migrated().await;
    let created = create(&store, "hk", new_key(), NOW).await.unwrap();
    let id = &created.record.key_id;
    revoke(&store, id, NOW).await.unwrap();
    revoke(&store, id, NOW).await.unwrap();
    let enable = KeyChanges { is_active: Update::Set(true), ..KeyChanges::default() };
    let refusal = update(&store, id, enable, NOW).await.unwrap_err();
    assert!(matches!(refusal, KeyringError::Store(StoreError::Refused(_))), "{refusal:?}");
    assert_eq!(store.find_key(created.key.hash()).await.unwrap().unwrap().validity().standing(NOW), Standing::Inactive);
}
