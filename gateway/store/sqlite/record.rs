//! A row of `api_keys` as a [`KeyRecord`], and back.
//!
//! What must stay true here: rows may have been written by hand, so each field is checked, and one that cannot be understood
//! makes the row unreadable instead of meaning something its writer did not (an address list with a typing error is not "any").

use rusqlite::types::FromSql;
use rusqlite::{Row, named_params};

use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord};
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;
use crate::store::imports::NewRow;

/// What [`read`] needs of a row of `api_keys`, there called `k`.
pub(super) const COLUMNS: &str = "k.key_id, k.key_prefix, k.user_id, k.name, k.environment, k.created_at, k.expires_at, \
     k.last_used_at, k.is_active, k.revoked_at, k.rate_limit_per_hour, k.allowed_ips, k.scopes, \
     substr(k.key_hash, 1, 1) = '$' AND k.revoked_at IS NULL AS awaits_first_use";

/// When the current secret of `k` was made, comparable as text; NULL where that was written by hand and cannot be understood.
pub(super) const SECRET_SINCE: &str = "strftime('%Y-%m-%d %H:%M:%f', coalesce(k.rotated_at, k.created_at))";

/// # Errors
/// [`StoreError::BadRecord`], naming the column.
pub(super) fn read(row: &Row<'_>) -> Result<KeyRecord, StoreError> {
    named(row, fields(row))
}

/// As [`read`], of a row that has `key_hash` and `valid_until` besides.
pub(super) fn read_found(row: &Row<'_>) -> Result<FoundKey, StoreError> {
    named(row, found_fields(row))
}

/// Writes every setting of the record but what other statements own: `last_used_at` and the secret.
pub(super) fn write_settings(connection: &rusqlite::Connection, record: &KeyRecord) -> rusqlite::Result<usize> {
    let sql = "UPDATE api_keys SET user_id = :user_id, name = :name, expires_at = :expires_at, is_active = :is_active, \
               rate_limit_per_hour = :rate_limit, allowed_ips = :allowed_ips, scopes = :scopes WHERE key_id = :key_id";
    connection.prepare_cached(sql)?.execute(named_params! {
        ":key_id": record.key_id.as_str(),
        ":user_id": record.user_id.as_str(),
        ":name": record.name,
        ":expires_at": record.expires_at.map(Timestamp::to_sql_text),
        ":is_active": record.is_active,
        ":rate_limit": record.rate_limit_per_hour,
        ":allowed_ips": list(&record.allowed_ips.to_strings()),
        ":scopes": list(&record.scopes),
    })
}

/// Returns how many rows were written: an imported key that meets another in what is unique is left out, any other is refused.
pub(super) fn insert(connection: &rusqlite::Connection, row: &NewRow<'_>) -> rusqlite::Result<usize> {
    let sql = format!(
        "INSERT INTO api_keys (key_id, key_hash, key_prefix, user_id, name, created_at, expires_at, last_used_at, is_active, \
         revoked_at, rate_limit_per_hour, allowed_ips, environment, scopes, minted, imported_hash) VALUES (:key_id, :key_hash, \
         :key_prefix, :user_id, :name, :created_at, :expires_at, :last_used_at, :is_active, :revoked_at, :rate_limit, :allowed_ips, \
         :environment, :scopes, :minted, :imported_hash){}",
        if row.is_imported { " ON CONFLICT DO NOTHING" } else { "" }
    );
    let record = row.record;
    connection.prepare_cached(&sql)?.execute(named_params! {
        ":key_id": record.key_id.as_str(),
        ":key_hash": row.key_hash,
        ":key_prefix": record.key_prefix,
        ":user_id": record.user_id.as_str(),
        ":name": record.name,
        ":created_at": record.created_at.to_sql_text(),
        ":expires_at": record.expires_at.map(Timestamp::to_sql_text),
        ":last_used_at": record.last_used_at.map(Timestamp::to_sql_text),
        ":is_active": record.is_active,
        ":revoked_at": record.revoked_at.map(Timestamp::to_sql_text),
        ":rate_limit": record.rate_limit_per_hour,
        ":allowed_ips": list(&record.allowed_ips.to_strings()),
        ":environment": record.environment.as_str(),
        ":scopes": list(&record.scopes),
        ":minted": row.minted,
        ":imported_hash": row.is_imported.then_some(&row.key_hash),
    })
}

fn named<T>(row: &Row<'_>, fields: Result<T, String>) -> Result<T, StoreError> {
    fields.map_err(|says| StoreError::BadRecord { key_id: row.get("key_id").unwrap_or_default(), says })
}

fn fields(row: &Row<'_>) -> Result<KeyRecord, String> {
    let environment: String = column(row, "environment")?;
    Ok(KeyRecord {
        key_id: column::<String>(row, "key_id")?.into(),
        key_prefix: column(row, "key_prefix")?,
        user_id: column::<String>(row, "user_id")?.into(),
        name: column(row, "name")?,
        environment: Environment::parse(&environment).ok_or_else(|| format!("environment `{environment}` is not known"))?,
        created_at: time(row, "created_at")?.ok_or("created_at is missing")?,
        expires_at: time(row, "expires_at")?,
        last_used_at: time(row, "last_used_at")?,
        is_active: column(row, "is_active")?,
        revoked_at: time(row, "revoked_at")?,
        rate_limit_per_hour: column(row, "rate_limit_per_hour")?,
        allowed_ips: IpNetSet::parse(&strings(row, "allowed_ips")?).map_err(|error| format!("allowed_ips: {error}"))?,
        scopes: strings(row, "scopes")?,
        awaits_first_use: column(row, "awaits_first_use")?,
    })
}

fn found_fields(row: &Row<'_>) -> Result<FoundKey, String> {
    let hash: String = column(row, "key_hash")?;
    Ok(FoundKey {
        hash: KeyHash::from_hex(&hash).ok_or("key_hash is not 64 hex digits")?,
        secret_expires_at: time(row, "valid_until")?,
        record: fields(row)?,
    })
}

fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, String> {
    row.get(name).map_err(|error| format!("{name}: {error}"))
}

fn time(row: &Row<'_>, name: &str) -> Result<Option<Timestamp>, String> {
    let Some(text) = column::<Option<String>>(row, name)? else { return Ok(None) };
    let wrong = || format!("{name} `{text}` is no time; write it like 2026-11-22 10:00:00");
    Timestamp::parse(&text).ok_or_else(wrong).map(Some)
}

/// A JSON array of strings; NULL is empty.
fn strings(row: &Row<'_>, name: &str) -> Result<Vec<String>, String> {
    let Some(text) = column::<Option<String>>(row, name)? else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|_| format!("{name} `{text}` is no JSON array of strings; write it like [\"a\", \"b\"]"))
}

fn list(strings: &[String]) -> Option<String> {
    (!strings.is_empty()).then(|| serde_json::Value::from(strings).to_string())
}
