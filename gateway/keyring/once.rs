//! A key made, or rotated, once, however often the same request comes: whoever did not hear the answer can ask again and is told the
//! same secret, by any gateway.
//!
//! What must stay true here: nothing of a secret is kept for that. The secret is derived from what the request is known by and
//! from the caller's credential, which no store holds: who repeats the request makes the same one, and finds that it is there.
//! And a secret that has ended is never made again.

use std::time::Duration;

use super::{CreatedKey, KeyringError, NewKey, RotatedKey, check, insert, replace, show};
use crate::model::api_key::{ApiKey, Environment};
use crate::model::ids::KeyId;
use crate::model::key_record::{FoundKey, KeyRecord};
use crate::model::seed::Seed;
use crate::model::timestamp::Timestamp;
use crate::store::{Store, StoreError};

const DAY: Duration = Duration::from_hours(24);

/// What a request is known by: the same for each repetition within a day, and for no other request.
pub struct Request {
    today: Seed,
    yesterday: Seed,
}

impl Request {
    /// `parts` tell the request from others with the same credential.
    pub fn new(credential: &[u8], parts: [&[u8]; 2], now: Timestamp) -> Self {
        let day = now.as_secs() / DAY.as_secs();
        let seed = |day: u64| Seed::of(credential, &[b"once", parts[0], parts[1], &day.to_be_bytes()]);
        Self { today: seed(day), yesterday: seed(day.saturating_sub(1)) }
    }

    /// Those that it makes: today's, and what it made yesterday.
    fn keys(&self, prefix: &str, environment: Environment) -> impl Fn() -> [ApiKey; 2] {
        move || [&self.today, &self.yesterday].map(|seed| ApiKey::derive(prefix, environment, seed))
    }
}

/// What came of it, and whether that was before.
pub struct Done<T> {
    pub answer: T,
    pub is_repeated: bool,
}

/// As [`super::create`].
///
/// # Errors
/// Besides, [`KeyringError::UsedBefore`].
pub async fn create(
    store: &Store,
    prefix: &str,
    new: NewKey,
    request: &Request,
    now: Timestamp,
) -> Result<Done<CreatedKey>, KeyringError> {
    check(&new, now)?;
    let keys = request.keys(prefix, new.environment);
    let [today, _] = keys();
    match once(store, keys, now, insert(store, today, &new, now)).await? {
        Outcome::New(answer) => Ok(Done { answer, is_repeated: false }),
        Outcome::There(key, found) if is_as_wanted(&found.record, &new) => {
            Ok(Done { answer: CreatedKey { key, record: found.record }, is_repeated: true })
        }
        Outcome::There(..) => Err(KeyringError::UsedBefore),
    }
}

/// As [`super::rotate`].
///
/// # Errors
/// Besides, [`KeyringError::UsedBefore`].
pub async fn rotate(
    store: &Store,
    prefix: &str,
    key_id: &KeyId,
    grace: Duration,
    request: &Request,
    now: Timestamp,
) -> Result<Done<RotatedKey>, KeyringError> {
    let keys = request.keys(prefix, show(store, key_id).await?.environment);
    let [today, _] = keys();
    match once(store, keys, now, replace(store, key_id, today, grace, now)).await? {
        Outcome::New(answer) => Ok(Done { answer, is_repeated: false }),
        // It is the current one.
        Outcome::There(key, found) if found.record.key_id == *key_id && found.secret_expires_at.is_none() => {
            let previous_valid_until = store.previous_valid_until(key_id).await?;
            Ok(Done { answer: RotatedKey { key, record: found.record, previous_valid_until }, is_repeated: true })
        }
        Outcome::There(..) => Err(KeyringError::UsedBefore),
    }
}

enum Outcome<T> {
    New(T),
    /// This request, or another, was there before.
    There(ApiKey, Box<FoundKey>),
}

/// Does it, unless a key of this request is there.
async fn once<T>(
    store: &Store,
    keys: impl Fn() -> [ApiKey; 2],
    now: Timestamp,
    act: impl Future<Output = Result<T, KeyringError>>,
) -> Result<Outcome<T>, KeyringError> {
    if let Some((key, found)) = find_or_refuse(store, &keys, now).await? {
        return Ok(Outcome::There(key, Box::new(found)));
    }
    let refusal = match act.await {
        Ok(answer) => return Ok(Outcome::New(answer)),
        Err(refusal) => refusal,
    };
    // Somebody may have been quicker with the same, which is then in the way of itself.
    let may_be_there = matches!(refusal, KeyringError::Store(StoreError::Refused(_)) | KeyringError::TooMuchTogether(_));
    let found = if may_be_there { find(store, keys()).await? } else { None };
    found.map(|(key, found)| Outcome::There(key, Box::new(found))).ok_or(refusal)
}

async fn find(store: &Store, keys: [ApiKey; 2]) -> Result<Option<(ApiKey, FoundKey)>, StoreError> {
    for key in keys {
        if let Some(found) = store.find_key(key.hash()).await? {
            return Ok(Some((key, found)));
        }
    }
    Ok(None)
}

/// What is there of an earlier request; a secret that was rotated out, perhaps because others knew it, is refused.
async fn find_or_refuse(
    store: &Store,
    keys: impl Fn() -> [ApiKey; 2],
    now: Timestamp,
) -> Result<Option<(ApiKey, FoundKey)>, KeyringError> {
    // Asked before: what somebody makes in between is found then, and not taken for one that has ended.
    let mut was_there = false;
    for key in keys() {
        was_there |= store.was_a_secret(key.hash(), now.minus(3 * DAY)).await?;
    }
    match find(store, keys()).await? {
        None if was_there => Err(KeyringError::UsedBefore),
        found => Ok(found),
    }
}

fn is_as_wanted(record: &KeyRecord, new: &NewKey) -> bool {
    let NewKey { user_id, name, environment, expires_at, rate_limit_per_hour, allowed_ips, scopes, most_together: _ } = new;
    record.user_id == *user_id
        && record.name == *name
        && record.environment == *environment
        && record.expires_at == *expires_at
        && record.rate_limit_per_hour == *rate_limit_per_hour
        && record.allowed_ips == *allowed_ips
        && record.scopes == *scopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::IpNetSet;
    use crate::store::KeyFilter;
    use crate::store::testing::{NOW, Place, hold_on_every_store};

    hold_on_every_store! {
        a_repeated_request_makes_one_key_and_is_told_the_same_secret,
        another_credential_another_name_or_two_days_later_is_another_request,
        two_at_once_make_one_key,
        two_at_once_are_told_the_same_where_there_is_room_for_one,
        the_same_name_for_something_else_is_refused,
        a_repeated_rotation_rotates_once,
        a_secret_that_has_ended_is_not_made_again,
    }

    fn request(credential: &str, name: &str, now: Timestamp) -> Request {
        Request::new(credential.as_bytes(), [b"/keys", name.as_bytes()], now)
    }

    fn wanted(name: &str) -> NewKey {
        NewKey {
            user_id: "ann".into(),
            name: name.to_owned(),
            environment: Environment::Test,
            expires_at: None,
            rate_limit_per_hour: Some(10),
            allowed_ips: IpNetSet::default(),
            scopes: Vec::new(),
            most_together: None,
        }
    }

    async fn count(store: &Store) -> usize {
        store.list_keys(&KeyFilter::default()).await.unwrap().keys.len()
    }

    /// `now` in both: the day of the request, and its time.
    async fn made(store: &Store, credential: &str, name: &str, now: Timestamp) -> (String, bool) {
        let done = create(store, "hk", wanted("n"), &request(credential, name, now), now).await.unwrap();
        (done.answer.key.expose().to_owned(), done.is_repeated)
    }

    async fn a_repeated_request_makes_one_key_and_is_told_the_same_secret(place: Place, store: Store) {
        let (secret, is_repeated) = made(&store, "token", "a name", NOW).await;
        assert!(!is_repeated);
        assert_eq!(made(&place.store(), "token", "a name", NOW).await, (secret.clone(), true), "by another gateway");
        assert_eq!(made(&store, "token", "a name", NOW.plus(DAY)).await, (secret, true), "a day later");
        assert_eq!(count(&store).await, 1);
    }

    async fn another_credential_another_name_or_two_days_later_is_another_request(_: Place, store: Store) {
        let mut secrets = vec![made(&store, "token", "a name", NOW).await];
        secrets.push(made(&store, "another", "a name", NOW).await);
        secrets.push(made(&store, "token", "another", NOW).await);
        secrets.push(made(&store, "token", "a name", NOW.plus(2 * DAY)).await);
        assert!(secrets.iter().all(|(_, is_repeated)| !is_repeated));
        secrets.sort();
        secrets.dedup();
        assert_eq!((secrets.len(), count(&store).await), (4, 4));
    }

    async fn two_at_once_make_one_key(place: Place, store: Store) {
        let other = place.store();
        let (one, two) = tokio::join!(made(&store, "token", "a name", NOW), made(&other, "token", "a name", NOW));
        assert_eq!((one.0, count(&store).await), (two.0, 1));
        assert_ne!(one.1, two.1);
    }

    /// What the first has made is no reason to refuse the second.
    async fn two_at_once_are_told_the_same_where_there_is_room_for_one(place: Place, store: Store) {
        let other = place.store();
        let room_for_one = || NewKey { most_together: Some(10), ..wanted("n") };
        let secret = async |store: &Store| {
            let done = create(store, "hk", room_for_one(), &request("token", "a name", NOW), NOW).await.unwrap();
            done.answer.key.expose().to_owned()
        };
        let (one, two) = tokio::join!(secret(&store), secret(&other));
        assert_eq!((one, count(&store).await), (two, 1));
    }

    async fn the_same_name_for_something_else_is_refused(_: Place, store: Store) {
        made(&store, "token", "a name", NOW).await;
        let answer = create(&store, "hk", wanted("other"), &request("token", "a name", NOW), NOW).await;
        assert!(matches!(answer.map(|_| ()), Err(KeyringError::UsedBefore)));
        assert_eq!(count(&store).await, 1);
    }

    async fn a_repeated_rotation_rotates_once(_: Place, store: Store) {
        let id = super::super::create(&store, "hk", wanted("n"), NOW).await.unwrap().record.key_id;
        let rotated = async |name: &str| {
            let done = rotate(&store, "hk", &id, DAY, &request("token", name, NOW), NOW).await?;
            Ok::<_, KeyringError>((done.answer.key.expose().to_owned(), done.answer.previous_valid_until, done.is_repeated))
        };
        let (secret, until, _) = rotated("first").await.unwrap();
        assert_eq!(rotated("first").await.unwrap(), (secret.clone(), until, true));
        assert_eq!(until, Some(NOW.plus(DAY)));
        let (second, ..) = rotated("second").await.unwrap();
        assert_ne!(second, secret);
        assert!(matches!(rotated("first").await, Err(KeyringError::UsedBefore)), "it is no longer the current one");
    }

    async fn a_secret_that_has_ended_is_not_made_again(_: Place, store: Store) {
        let now = crate::clock::now();
        let (first, _) = made(&store, "token", "a name", now).await;
        let id = store.list_keys(&KeyFilter::default()).await.unwrap().keys[0].key_id.clone();
        super::super::rotate(&store, "hk", &id, Duration::ZERO, now).await.unwrap();
        let again = create(&store, "hk", wanted("n"), &request("token", "a name", now), now).await;
        assert!(matches!(again.map(|_| ()), Err(KeyringError::UsedBefore)), "{first} ended");
        assert_eq!(count(&store).await, 1);
    }
}
