//! `POST /api/v1/usage/{key_id}`: what a service did for a key that it validated itself. Goes the way of all usage.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::body::Body;
use super::caller::Trusted;
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::model::usage_event::UsageEvent;

/// Clients send more than this; the rest is theirs.
#[derive(Deserialize, ToSchema)]
pub struct Done {
    #[serde(default)]
    endpoint: String,
    method: Option<String>,
    #[serde(default)]
    response_time_ms: f64,
    status_code: Option<u16>,
}

#[derive(Serialize, ToSchema)]
pub struct Taken {
    /// False where the gateway records no usage.
    recorded: bool,
    request_id: String,
}

/// Tell what a service did for a key that it validated itself.
#[utoipa::path(
    post,
    path = "/usage/{key_id}",
    operation_id = "recordUsage",
    tag = "usage",
    params(("key_id" = String, Path)),
    request_body = Done,
    security(("token" = [])),
    responses((status = 202, description = "taken note of", body = Taken), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn record(
    _: Trusted,
    State(api): State<Arc<Api>>,
    Path(key_id): Path<String>,
    Body(done): Body<Done>,
) -> Result<(StatusCode, Json<Taken>), Problem> {
    let took = Duration::try_from_secs_f64(done.response_time_ms / 1000.0)
        .map_err(|_| Problem::Invalid("response_time_ms: it must be a number of milliseconds, 0 or more".to_owned()))?;
    // What comes while the journal closes would be lost.
    if !api.readiness.get() {
        return Err(Problem::ShuttingDown);
    }
    let request_id = uuid::Uuid::new_v4().simple().to_string();
    let event = UsageEvent {
        key_id: &key_id,
        request_id: &request_id,
        method: done.method.as_deref().unwrap_or("POST"),
        endpoint: done.endpoint.split('?').next().unwrap_or_default(),
        status: done.status_code.unwrap_or(200),
        timestamp: clock::now().minus(took),
        response_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        request_bytes: 0,
        response_bytes: 0,
        client_ip: None,
    };
    api.recorder.iter().for_each(|recorder| recorder.record(&event));
    Ok((StatusCode::ACCEPTED, Json(Taken { recorded: api.recorder.is_some(), request_id })))
}
