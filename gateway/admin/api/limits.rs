//! `/api/v1/limits/{key_id}`: what a key has used of its hour.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use super::Api;
use super::caller::{Admin, Caller};
use super::keys::of_caller;
use super::problem::{Problem, ProblemBody};
use crate::reports::hour::HourUsage;

/// Show what a key has used of its hour, true to within two seconds.
#[utoipa::path(
    get,
    path = "/limits/{key_id}",
    operation_id = "showLimit",
    tag = "limits",
    params(("key_id" = String, Path)),
    security(("token" = []), ("key" = [])),
    responses((status = 200, description = "the hour", body = HourUsage), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn show(caller: Caller, State(api): State<Arc<Api>>, Path(key_id): Path<String>) -> Result<Json<HourUsage>, Problem> {
    hour(&caller, &api, key_id).await
}

/// Let a key begin its hour anew, on every gateway.
#[utoipa::path(
    post,
    path = "/limits/{key_id}/reset",
    operation_id = "resetLimit",
    tag = "limits",
    params(("key_id" = String, Path)),
    security(("token" = [])),
    responses((status = 200, description = "the hour", body = HourUsage), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn reset(
    Admin(caller): Admin,
    State(api): State<Arc<Api>>,
    Path(key_id): Path<String>,
) -> Result<Json<HourUsage>, Problem> {
    let record = of_caller(&caller, &api, key_id.clone()).await?;
    api.limiter.authority().reset_hour(&record.key_id, &caller.store(&api)).await?;
    tracing::info!(%key_id, "limit reset by the admin API");
    hour(&caller, &api, key_id).await
}

async fn hour(caller: &Caller, api: &Api, key_id: String) -> Result<Json<HourUsage>, Problem> {
    let record = of_caller(caller, api, key_id).await?;
    let (now, used) = api.limiter.authority().hour_usage(&record.key_id).await?;
    Ok(Json(HourUsage::new(record.rate_limit_per_hour, used, now)))
}
