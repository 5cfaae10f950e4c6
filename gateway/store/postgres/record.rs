//! A row of `api_keys` as a [`KeyRecord`], and back.
//!
//! What must stay true here: rows may have been written by hand, so each field is checked, and one that cannot be understood
//! makes the row unreadable instead of meaning something its writer did not (an address list with a typing error is not "any").

use deadpool_postgres::GenericClient;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::values::{bigint, instant, timestamp};
use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord};
use crate::store::StoreError;
use crate::store::imports::NewRow;

/// What [`read`] needs of a row of `api_keys`, there called `k`.
pub(super) const COLUMNS: &str = "k.key_id, k.key_prefix, k.user_id, k.name, k.environment, k.created_at, k.expires_at, \
     k.last_used_at, k.is_active, k.revoked_at, k.rate_limit_per_hour, k.allowed_ips, k.scopes, \
     substr(k.key_hash, 1, 1) = '$' AND k.revoked_at IS NULL AS awaits_first_use";

/// When the current secret of `k` was made.
pub(super) const SECRET_SINCE: &str = "coalesce(k.rotated_at, k.created_at)";

/// # Errors
/// [`StoreError::BadRecord`], naming the column.
pub(super) fn read(row: &Row) -> Result<KeyRecord, StoreError> {
    named(row, fields(row))
}

/// As [`read`], of a row that has `key_hash` and `valid_until` besides.
pub(super) fn read_found(row: &Row) -> Result<FoundKey, StoreError> {
    named(row, found_fields(row))
}

/// Writes every setting of the record but what other statements own: `last_used_at` and the secret.
pub(super) async fn write_settings(client: &impl GenericClient, record: &KeyRecord) -> Result<(), tokio_postgres::Error> {
    let sql = "UPDATE api_keys SET user_id = $2, name = $3, expires_at = $4, is_active = $5, rate_limit_per_hour = $6, \
               allowed_ips = $7, scopes = $8 WHERE key_id = $1";
    let statement = client.prepare_cached(sql).await?;
    client
        .execute(
            &statement,
            &[
                &record.key_id.as_str(),
                &record.user_id.as_str(),
                &record.name,
                &record.expires_at.map(instant),
                &record.is_active,
                &record.rate_limit_per_hour.map(bigint),
                &list(&record.allowed_ips.to_strings()),
                &list(&record.scopes),
            ],
        )
        .await?;
    Ok(())
}

/// Returns how many rows were written: an imported key that meets another in what is unique is left out, any other is refused.
pub(super) async fn insert(client: &impl GenericClient, row: &NewRow<'_>) -> Result<usize, tokio_postgres::Error> {
    let sql = format!(
        "INSERT INTO api_keys (key_id, key_hash, key_prefix, user_id, name, created_at, expires_at, last_used_at, is_active, \
         revoked_at, rate_limit_per_hour, allowed_ips, environment, scopes, minted, imported_hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16){}",
        if row.is_imported { " ON CONFLICT DO NOTHING" } else { "" }
    );
    let statement = client.prepare_cached(&sql).await?;
    let record = row.record;
    let written = client
        .execute(
            &statement,
            &[
                &record.key_id.as_str(),
                &row.key_hash,
                &record.key_prefix,
                &record.user_id.as_str(),
                &record.name,
                &instant(record.created_at),
                &record.expires_at.map(instant),
                &record.last_used_at.map(instant),
                &record.is_active,
                &record.revoked_at.map(instant),
                &record.rate_limit_per_hour.map(bigint),
                &list(&record.allowed_ips.to_strings()),
                &record.environment.as_str(),
                &list(&record.scopes),
                &row.minted,
                &row.is_imported.then_some(&row.key_hash),
            ],
        )
        .await?;
    Ok(usize::try_from(written).unwrap_or(usize::MAX))
}

fn named<T>(row: &Row, fields: Result<T, String>) -> Result<T, StoreError> {
    fields.map_err(|says| StoreError::BadRecord { key_id: row.try_get("key_id").unwrap_or_default(), says })
}

fn fields(row: &Row) -> Result<KeyRecord, String> {
    let environment: String = column(row, "environment")?;
    let limit: Option<i64> = column(row, "rate_limit_per_hour")?;
    Ok(KeyRecord {
        key_id: column::<String>(row, "key_id")?.into(),
        key_prefix: column(row, "key_prefix")?,
        user_id: column::<String>(row, "user_id")?.into(),
        name: column(row, "name")?,
        environment: Environment::parse(&environment).ok_or_else(|| format!("environment `{environment}` is not known"))?,
        created_at: timestamp(column(row, "created_at")?),
        expires_at: column::<Option<_>>(row, "expires_at")?.map(timestamp),
        last_used_at: column::<Option<_>>(row, "last_used_at")?.map(timestamp),
        is_active: column(row, "is_active")?,
        revoked_at: column::<Option<_>>(row, "revoked_at")?.map(timestamp),
        rate_limit_per_hour: limit.map(u64::try_from).transpose().map_err(|_| "rate_limit_per_hour is below zero")?,
        allowed_ips: IpNetSet::parse(&strings(row, "allowed_ips")?).map_err(|error| format!("allowed_ips: {error}"))?,
        scopes: strings(row, "scopes")?,
        awaits_first_use: column(row, "awaits_first_use")?,
    })
}

fn found_fields(row: &Row) -> Result<FoundKey, String> {
    let hash: String = column(row, "key_hash")?;
    Ok(FoundKey {
        hash: KeyHash::from_hex(&hash).ok_or("key_hash is not 64 hex digits")?,
        secret_expires_at: column::<Option<_>>(row, "valid_until")?.map(timestamp),
        record: fields(row)?,
    })
}

fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, String> {
    row.try_get(name).map_err(|error| format!("{name}: {error}"))
}

/// A JSON array of strings; NULL is empty.
fn strings(row: &Row, name: &str) -> Result<Vec<String>, String> {
    let Some(list) = column::<Option<Value>>(row, name)? else { return Ok(Vec::new()) };
    let strings = list.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    strings.ok_or_else(|| format!("{name} `{list}` is no JSON array of strings; write it like [\"a\", \"b\"]"))
}

fn list(strings: &[String]) -> Option<Value> {
    (!strings.is_empty()).then(|| Value::from(strings))
}
