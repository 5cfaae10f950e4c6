//! `POST /api/v1/explain`: why a request passes or does not, by the configuration in force.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::body::Body;
use super::caller::Admin;
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::explain::{Asked, AskedKey, Described, Explanation};
use crate::model::ids::KeyId;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AboutRequest {
    key_id: Option<String>,
    #[schema(value_type = String)]
    ip: IpAddr,
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    https: bool,
}

/// What would become of a request, by the configuration in force. Spends nothing.
#[utoipa::path(
    post,
    path = "/explain",
    operation_id = "explain",
    tag = "explain",
    request_body = AboutRequest,
    security(("token" = [])),
    responses((status = 200, description = "step by step", body = Explanation), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn explain(
    _: Admin,
    State(api): State<Arc<Api>>,
    Body(question): Body<AboutRequest>,
) -> Result<Json<Explanation>, Problem> {
    let described = Described {
        method: question.method.as_deref().unwrap_or("GET"),
        target: question.path.as_deref().unwrap_or("/"),
        host: question.host.as_deref().unwrap_or("localhost"),
        headers: question.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        ip: question.ip,
        https: question.https,
    };
    let asked = Asked::new(&described).map_err(Problem::Invalid)?;
    let key_id = question.key_id.map(KeyId::from);
    let key = AskedKey::find(key_id.as_ref(), &api.store, api.limiter.authority()).await?;
    Ok(Json(asked.explain(&key, &api.config.load_full(), clock::now())))
}
