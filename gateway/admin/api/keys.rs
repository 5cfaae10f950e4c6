//! `/api/v1/keys`: made, listed, changed, rotated and revoked.
//!
//! What must stay true here: the text of a key is in the answer to its making or its rotation, and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::{Body, Params};
use super::caller::{Admin, Caller};
use super::idempotency::{Idempotency, repeated};
use super::new_key::{Changes, Wanted};
use super::next_page::next_page;
use super::precondition::{IfMatch, etag};
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::keyring::confirm::{self, Confirmations};
use crate::keyring::once::{self, Done};
use crate::keyring::shown::{Shown, Told};
use crate::keyring::{self, CreatedKey, KeyringError, RotatedKey};
use crate::model::ids::{KeyId, UserId};
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{KeyChanges, KeyFilter};
use crate::units::parse_duration;

/// How long the secret before goes on working where nothing is said.
const GRACE: Duration = Duration::from_hours(24);
/// How many rows could not be read: the list is not complete.
const UNREADABLE: &str = "x-unreadable-rows";

/// A key with its text, for once.
#[derive(Serialize, ToSchema)]
struct WithSecret<'a> {
    api_key: &'a str,
    #[serde(flatten)]
    shown: Shown<'a>,
}

#[derive(Serialize, ToSchema)]
struct Rotated<'a> {
    #[serde(flatten)]
    key: WithSecret<'a>,
    previous_valid_until: Option<String>,
}

/// A row of the list. Existing clients know the key id as `id`.
#[derive(Serialize, ToSchema)]
struct Row<'a> {
    id: &'a str,
    #[serde(flatten)]
    told: Told<'a>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    user_id: Option<String>,
    #[serde(default)]
    active: bool,
    /// Only those that were created before this time.
    created_before: Option<String>,
    /// At most so many; all where it is left out. `Link` then leads to the rest.
    limit: Option<usize>,
    /// Only those that come after this key id.
    after: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Answer when every live gateway has confirmed, after ten seconds with those that have not.
    #[serde(default)]
    wait: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// As in a command: `24h`; `0s`: the old secrets end at once.
    grace: Option<String>,
}

/// Make a key. An owner may one that may no more than the one they call with. Its text is in this answer alone.
#[utoipa::path(
    post,
    path = "/keys",
    operation_id = "createKey",
    tag = "keys",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = Wanted,
    security(("token" = []), ("key" = [])),
    responses((status = 201, description = "the key, with its text", body = WithSecret<'static>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn create(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Idempotency(request): Idempotency,
    Body(wanted): Body<Wanted>,
) -> Result<Response, Problem> {
    let config = api.config.load_full();
    let wanted = match caller.own_record(&api).await? {
        None => wanted.into_key(&config)?,
        Some(own) => wanted.into_key_of(&own, &config)?,
    };
    let (store, prefix, now) = (caller.store(&api), &config.keys.prefix, clock::now());
    let created = match &request {
        Some(request) => once::create(&store, prefix, wanted, request, now).await?,
        None => Done { answer: keyring::create(&store, prefix, wanted, now).await?, is_repeated: false },
    };
    let CreatedKey { key, record } = &created.answer;
    if !created.is_repeated {
        tracing::info!(key_id = %record.key_id, user_id = %record.user_id, "key created by the admin API");
    }
    let answer = WithSecret { api_key: key.expose(), shown: Shown::of(record) };
    Ok((StatusCode::CREATED, repeated(created.is_repeated), Json(answer)).into_response())
}

/// List keys: all of them for an administrator, their own for an owner.
#[utoipa::path(
    get,
    path = "/keys",
    operation_id = "listKeys",
    tag = "keys",
    params(Filter),
    security(("token" = []), ("key" = [])),
    responses((status = 200, description = "the keys", body = Vec<Row<'static>>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn list(caller: Caller, State(api): State<Arc<Api>>, Params(filter): Params<Filter>) -> Result<Response, Problem> {
    let asked_for = filter.user_id.filter(|user| !user.is_empty()).map(UserId::from);
    let user_id = caller.owner().map(|key| key.user_id().into()).or(asked_for);
    if filter.limit == Some(0) {
        return Err(Problem::Invalid("limit: it must be at least 1".to_owned()));
    }
    let good_at = filter.active.then(clock::now);
    let created_before = filter.created_before.as_deref().map(instant).transpose()?;
    let after = filter.after.map(KeyId::from);
    let asked = KeyFilter { user_id, good_at, created_before, after, most: filter.limit, ..KeyFilter::default() };
    let listing = keyring::list(&api.store, &asked).await?;
    listing.unreadable.iter().for_each(|error| tracing::warn!(%error, "a key could not be listed"));
    let rows: Vec<_> = listing.keys.iter().map(row).collect();
    let unreadable = listing.unreadable.len().to_string();
    let told = (!listing.unreadable.is_empty()).then_some([(UNREADABLE, unreadable)]);
    let next = listing.last.zip(filter.limit).map(|(last, limit)| rest_of(&asked, &last, limit));
    Ok((told, next, Json(rows)).into_response())
}

fn rest_of(asked: &KeyFilter, last: &KeyId, limit: usize) -> [(HeaderName, String); 1] {
    let (limit, created_before) = (limit.to_string(), asked.created_before.map(Timestamp::to_rfc3339));
    let parameters = [
        ("limit", Some(&*limit)),
        ("after", Some(last.as_str())),
        ("user_id", asked.user_id.as_ref().map(UserId::as_str)),
        ("active", asked.good_at.map(|_| "true")),
        ("created_before", created_before.as_deref()),
    ];
    next_page("/keys", &parameters)
}

fn instant(text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).ok_or_else(|| Problem::Invalid(format!("created_before: {text:?} is no time as in RFC 3339")))
}

/// Show one key.
#[utoipa::path(
    get,
    path = "/keys/{key_id}",
    operation_id = "showKey",
    tag = "keys",
    params(("key_id" = String, Path)),
    security(("token" = []), ("key" = [])),
    responses((status = 200, description = "the key", body = Told<'static>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn show(caller: Caller, State(api): State<Arc<Api>>, Path(key_id): Path<String>) -> Result<Response, Problem> {
    let record = of_caller(&caller, &api, key_id).await?;
    Ok((etag(&record), Json(Told::of(&record))).into_response())
}

/// The key, for an administrator or its owner. Others do not learn that it is there.
pub async fn of_caller(caller: &Caller, api: &Api, key_id: String) -> Result<KeyRecord, Problem> {
    let key_id = KeyId::from(key_id);
    let record = keyring::show(&api.store, &key_id).await?;
    match caller.owner() {
        Some(key) if key.user_id() != record.user_id.as_str() => Err(KeyringError::NotFound(key_id).into()),
        _ => Ok(record),
    }
}

/// Change what is set for a key. What is left out stays. With `If-Match`, only what is as it was seen.
#[utoipa::path(
    patch,
    path = "/keys/{key_id}",
    operation_id = "updateKey",
    tag = "keys",
    params(("key_id" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = Changes,
    security(("token" = [])),
    responses((status = 200, description = "the key", body = Told<'static>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn update(
    Admin(caller): Admin,
    State(api): State<Arc<Api>>,
    Path(key_id): Path<String>,
    IfMatch(only_if): IfMatch,
    Body(changes): Body<Changes>,
) -> Result<Response, Problem> {
    let key_id = KeyId::from(key_id);
    let changes = KeyChanges { only_if, ..changes.into_changes()? };
    let record = keyring::update(&caller.store(&api), &key_id, changes, clock::now()).await?;
    tracing::info!(%key_id, "key changed by the admin API");
    Ok((etag(&record), Json(Told::of(&record))).into_response())
}

/// End a key for good, with every secret it has.
#[utoipa::path(
    delete,
    path = "/keys/{key_id}",
    operation_id = "revokeKey",
    tag = "keys",
    params(("key_id" = String, Path), Wait),
    security(("token" = []), ("key" = [])),
    responses((status = 204, description = "it is revoked"), (status = 200, description = "it is revoked; who has confirmed", body = Confirmations), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn revoke(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(key_id): Path<String>,
    Params(Wait { wait }): Params<Wait>,
) -> Result<Response, Problem> {
    let key_id = match caller.owner() {
        // Also one whose row cannot be understood.
        None => KeyId::from(key_id),
        Some(_) => of_caller(&caller, &api, key_id).await?.key_id,
    };
    keyring::revoke(&caller.store(&api), &key_id, clock::now()).await?;
    tracing::info!(%key_id, "key revoked by the admin API");
    match wait {
        true => Ok(Json(confirm::by_all_gateways(&api.store, &key_id).await?).into_response()),
        false => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Give a key a new secret. An owner may where the key may no more than the one they call with. Its text is in this answer alone.
#[utoipa::path(
    post,
    path = "/keys/{key_id}/rotate",
    operation_id = "rotateKey",
    tag = "keys",
    params(("key_id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Rotation>,
    security(("token" = []), ("key" = [])),
    responses((status = 200, description = "the key, with its new text", body = Rotated<'static>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn rotate(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(key_id): Path<String>,
    Idempotency(request): Idempotency,
    Body(rotation): Body<Rotation>,
) -> Result<Response, Problem> {
    let record = of_caller(&caller, &api, key_id).await?;
    if caller.own_record(&api).await?.is_some_and(|own| !own.covers(&record)) {
        return Err(Problem::Forbidden);
    }
    let key_id = record.key_id;
    let grace = rotation.grace.as_deref().map(parse_duration).transpose();
    let grace = grace.map_err(|error| Problem::Invalid(format!("grace: {error}")))?.unwrap_or(GRACE);
    let (prefix, store, now) = (api.config.load().keys.prefix.clone(), caller.store(&api), clock::now());
    let rotated = match &request {
        Some(request) => once::rotate(&store, &prefix, &key_id, grace, request, now).await?,
        None => Done { answer: keyring::rotate(&store, &prefix, &key_id, grace, now).await?, is_repeated: false },
    };
    if !rotated.is_repeated {
        tracing::info!(%key_id, "key rotated by the admin API");
    }
    let RotatedKey { key, record, previous_valid_until } = &rotated.answer;
    let key = WithSecret { api_key: key.expose(), shown: Shown::of(record) };
    let previous_valid_until = previous_valid_until.map(Timestamp::to_rfc3339);
    Ok((repeated(rotated.is_repeated), Json(Rotated { key, previous_valid_until })).into_response())
}

/// `expires_at` is UTC without an offset here alone: existing views compare it with such a time.
fn row(record: &KeyRecord) -> serde_json::Value {
    let row = Row { id: record.key_id.as_str(), told: Told::of(record) };
    let mut row = serde_json::to_value(row).expect("texts and numbers are JSON");
    if let Some(end) = record.expires_at {
        row["expires_at"] = end.to_rfc3339().trim_end_matches("+00:00").into();
    }
    row
}
