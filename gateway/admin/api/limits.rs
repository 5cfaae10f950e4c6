//! `/api/v1/limits/{key_id}`: what a key has used of its hour.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use super::Api;
use super::caller::{Admin, Caller};
use super::keys::of_caller;
use super::problem::Problem;
use crate::reports::hour::HourUsage;

pub async fn show(caller: Caller, State(api): State<Arc<Api>>, Path(key_id): Path<String>) -> Result<Json<HourUsage>, Problem> {
    hour(&caller, &api, key_id).await
}

/// Lets the key begin its hour anew, on every gateway.
pub async fn reset(_: Admin, State(api): State<Arc<Api>>, Path(key_id): Path<String>) -> Result<Json<HourUsage>, Problem> {
    let record = of_caller(&Caller::Admin, &api, key_id.clone()).await?;
    api.limiter.authority().reset_hour(&record.key_id).await?;
    tracing::info!(%key_id, "limit reset by the admin API");
    hour(&Caller::Admin, &api, key_id).await
}

async fn hour(caller: &Caller, api: &Api, key_id: String) -> Result<Json<HourUsage>, Problem> {
    let record = of_caller(caller, api, key_id).await?;
    let (now, used) = api.limiter.authority().hour_usage(&record.key_id).await?;
    Ok(Json(HourUsage::new(record.rate_limit_per_hour, used, now)))
}
