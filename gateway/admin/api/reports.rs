//! `/api/v1/usage`: who uses the gateway, and how.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::body::Params;
use super::caller::{Admin, Caller};
use super::keys::of_caller;
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::reports::breakdown::{self, Breakdown, Used};
use crate::reports::series::Step;
use crate::reports::{self, SINCE};
use crate::store::{KeyUsage, UsageFilter};

/// Keys that are told, at most.
const MOST_KEYS: usize = 1000;

/// As the options of the commands: `since` is `24h`, or a time.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TopQuery {
    since: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SeriesQuery {
    since: Option<String>,
    every: Option<String>,
    key_id: Option<String>,
    endpoint: Option<String>,
    status: Option<u16>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BreakdownQuery {
    since: Option<String>,
}

/// The keys with the most requests.
#[utoipa::path(
    get,
    path = "/usage/top",
    operation_id = "usageTop",
    tag = "usage",
    params(TopQuery),
    security(("token" = [])),
    responses((status = 200, description = "the keys", body = Vec<KeyUsage>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn top(_: Admin, State(api): State<Arc<Api>>, Params(query): Params<TopQuery>) -> Result<Response, Problem> {
    let since = since(query.since.as_deref(), clock::now())?;
    let keys = api.store.usage_top(since, query.limit.unwrap_or(10).clamp(1, MOST_KEYS)).await?;
    Ok(Json(keys).into_response())
}

/// How much was requested in each step of time.
#[utoipa::path(
    get,
    path = "/usage/series",
    operation_id = "usageSeries",
    tag = "usage",
    params(SeriesQuery),
    security(("token" = [])),
    responses((status = 200, description = "the steps", body = Vec<Step<'static>>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn series(_: Admin, State(api): State<Arc<Api>>, Params(query): Params<SeriesQuery>) -> Result<Response, Problem> {
    let now = clock::now();
    let every = reports::series::whole_seconds(query.every.as_deref().unwrap_or("1h"));
    let every = every.map_err(|says| Problem::Invalid(format!("every: {says}")))?;
    let starts = reports::series::starts(since(query.since.as_deref(), now)?, now, every).map_err(Problem::Invalid)?;
    let until = now.plus(Duration::from_millis(1));
    let filter = UsageFilter {
        since: starts[0],
        until,
        key_id: query.key_id.map(KeyId::from),
        endpoint: query.endpoint,
        status: query.status,
    };
    let used = api.store.usage_series(&filter, every).await?;
    let steps = reports::series::with_empty(&starts, used);
    Ok(Json(reports::series::json(&steps)).into_response())
}

/// What all keys together were used for, and from where.
#[utoipa::path(
    get,
    path = "/usage/breakdown",
    operation_id = "usageOfAllKeys",
    tag = "usage",
    params(BreakdownQuery),
    security(("token" = [])),
    responses((status = 200, description = "the use", body = Used<'static>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn all_keys(_: Admin, State(api): State<Arc<Api>>, Params(query): Params<BreakdownQuery>) -> Result<Response, Problem> {
    let now = clock::now();
    let since = since(query.since.as_deref(), now)?;
    let usage = breakdown::ask(&api.store, None, since, now).await?;
    Ok(Json(Used::of(since, &usage)).into_response())
}

/// What one key was used for, and from where.
#[utoipa::path(
    get,
    path = "/usage/{key_id}",
    operation_id = "usageOfKey",
    tag = "usage",
    params(("key_id" = String, Path), BreakdownQuery),
    security(("token" = []), ("key" = [])),
    responses((status = 200, description = "the use", body = Breakdown<'static>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn breakdown(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(key_id): Path<String>,
    Params(query): Params<BreakdownQuery>,
) -> Result<Response, Problem> {
    let now = clock::now();
    let since = since(query.since.as_deref(), now)?;
    let key = of_caller(&caller, &api, key_id).await?;
    let usage = breakdown::ask(&api.store, Some(&key.key_id), since, now).await?;
    Ok(Json(Breakdown::of(&key, since, &usage)).into_response())
}

fn since(text: Option<&str>, now: Timestamp) -> Result<Timestamp, Problem> {
    instant("since", text.unwrap_or(SINCE), now)
}

/// What the parameter of this name says.
pub(super) fn instant(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let when = reports::when(text).map_err(|says| Problem::Invalid(format!("{name}: {says}")))?;
    Ok(when.instant(now))
}
