//! Keys that end soon, and keys whose secret is old. The store is asked.

use std::time::Duration;

use serde_json::json;

use super::alert::Finding;
use super::teller::Teller;
use crate::clock;
use crate::config;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::AlertKind;
use crate::store::{KeyFilter, Store, StoreError};

/// Keys read at once.
const PAGE: usize = 1_000;

/// Looks at the keys that may be used now.
///
/// # Errors
/// When the store gives no answer. What was found before is told.
pub async fn look(store: &Store, rules: &config::Alerts, teller: &Teller) -> Result<(), StoreError> {
    let now = clock::now();
    let good = KeyFilter { good_at: Some(now), most: Some(PAGE), ..KeyFilter::default() };
    if !rules.expires_within.is_zero() {
        let tell =
            |key: &KeyRecord| ends_soon(key, now, rules.expires_within).iter().for_each(|found| teller.found(found, rules));
        each_key(store, good.clone(), tell).await?;
    }
    if !rules.secret_older_than.is_zero() {
        let old = KeyFilter { secret_before: Some(now.minus(rules.secret_older_than)), ..good };
        each_key(store, old, |key| teller.found(&has_old_secret(key, rules.secret_older_than), rules)).await?;
    }
    Ok(())
}

async fn each_key(store: &Store, mut filter: KeyFilter, mut tell: impl FnMut(&KeyRecord)) -> Result<(), StoreError> {
    loop {
        let page = store.list_keys(&filter).await?;
        page.keys.iter().for_each(&mut tell);
        if page.last.is_none() {
            return Ok(());
        }
        filter.after = page.last;
    }
}

fn ends_soon(key: &KeyRecord, now: Timestamp, within: Duration) -> Option<Finding> {
    let KeyRecord { key_id, name, user_id, .. } = key;
    let ends = key.expires_at.filter(|ends| *ends <= now.plus(within))?.to_rfc3339();
    let details = json!({ "key_id": key_id.as_str(), "name": name, "user_id": user_id.as_str(), "expires_at": ends });
    let summary = format!("key {key_id} ends at {ends}");
    Some(Finding { kind: AlertKind::KeyExpires, subject: key_id.to_string(), summary, details })
}

fn has_old_secret(key: &KeyRecord, age: Duration) -> Finding {
    let KeyRecord { key_id, name, user_id, .. } = key;
    let days = age.as_secs() / (24 * 3600);
    let details = json!({ "key_id": key_id.as_str(), "name": name, "user_id": user_id.as_str(), "older_than_days": days });
    let summary = format!("the secret of key {key_id} is older than {days} days");
    Finding { kind: AlertKind::SecretOld, subject: key_id.to_string(), summary, details }
}
