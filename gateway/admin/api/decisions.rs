//! `GET /api/v1/decisions`: what this gateway refused lately, and why.
//!
//! What must stay true here: an owner is told of refusals of their own keys alone.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::Params;
use super::caller::Caller;
use super::problem::{Problem, ProblemBody};
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::refusals::{RefusedRequest, Unseen};

const LIMIT: usize = 100;
const HIGHEST_LIMIT: usize = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DecisionsQuery {
    /// The `next` of the answer before: those since. Without it, the latest.
    after: Option<u64>,
    /// 1 to 1000; 100 where it is left out.
    limit: Option<usize>,
    key_id: Option<String>,
    /// A reason, or the code that clients are told.
    reason: Option<String>,
    #[param(value_type = Option<String>)]
    client_ip: Option<IpAddr>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Decisions)]
pub struct Told {
    /// The oldest first.
    decisions: Vec<Decision>,
    /// To be asked with as `after`.
    next: u64,
    /// How many since `after` were gone before they could be told.
    missed: u64,
}

#[derive(Serialize, ToSchema)]
struct Decision {
    sequence: u64,
    time: String,
    /// As the client was told.
    code: &'static str,
    /// What it truly was.
    reason: &'static str,
    status: u16,
    key_id: Option<String>,
    user_id: Option<String>,
    name: Option<String>,
    #[schema(value_type = Option<String>)]
    client_ip: Option<IpAddr>,
    method: String,
    path: String,
    /// Empty where none was taken.
    route: String,
    request_id: String,
}

/// List the latest requests that this gateway refused, and why.
#[utoipa::path(
    get,
    path = "/decisions",
    operation_id = "listDecisions",
    tag = "decisions",
    params(DecisionsQuery),
    security(("token" = []), ("key" = [])),
    responses((status = 200, description = "the refusals", body = Told), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(query): Params<DecisionsQuery>,
) -> Result<Json<Told>, Problem> {
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=HIGHEST_LIMIT).contains(&limit) {
        return Err(Problem::Invalid(format!("limit: it must be from 1 to {HIGHEST_LIMIT}")));
    }
    let Unseen { mut refused, missed, latest } = api.refusals.since(query.after.unwrap_or(0));
    refused.retain(|(_, refused)| caller.may_see(refused) && query.takes(refused));
    let mut next = latest;
    match query.after {
        None => drop(refused.drain(..refused.len().saturating_sub(limit))),
        Some(_) if refused.len() > limit => {
            refused.truncate(limit);
            next = refused[limit - 1].0;
        }
        Some(_) => {}
    }
    let decisions = refused.iter().map(|(sequence, refused)| Decision::of(*sequence, refused, &api.metrics)).collect();
    Ok(Json(Told { decisions, next, missed: if query.after.is_some() { missed } else { 0 } }))
}

impl DecisionsQuery {
    fn takes(&self, refused: &RefusedRequest) -> bool {
        let key_id = refused.key.as_ref().map(|key| key.key_id.as_str());
        self.key_id.as_deref().is_none_or(|wanted| key_id == Some(wanted))
            && self.reason.as_deref().is_none_or(|wanted| [refused.reason, refused.code].contains(&wanted))
            && self.client_ip.is_none_or(|wanted| refused.client_ip == Some(wanted.to_canonical()))
    }
}

impl Caller {
    fn may_see(&self, refused: &RefusedRequest) -> bool {
        self.owner().is_none_or(|own| refused.key.as_ref().is_some_and(|key| key.user_id.as_str() == own.user_id()))
    }
}

impl Decision {
    fn of(sequence: u64, refused: &RefusedRequest, metrics: &Metrics) -> Self {
        let key = refused.key.as_ref();
        Self {
            sequence,
            time: Timestamp::to_rfc3339(refused.at),
            code: refused.code,
            reason: refused.reason,
            status: refused.status,
            key_id: key.map(|key| key.key_id.to_string()),
            user_id: key.map(|key| key.user_id.to_string()),
            name: key.map(|key| key.name.clone()),
            client_ip: refused.client_ip,
            method: refused.method.clone(),
            path: refused.path.clone(),
            route: metrics.route_name(refused.route),
            request_id: refused.request_id.clone(),
        }
    }
}
