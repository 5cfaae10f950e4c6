//! `/api/v1/decisions`: the latest requests that this gateway refused, and why.

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
use crate::model::ids::UserId;
use crate::observe::refused_requests::{Numbered, RefusedRequest};

/// Told where nothing is said.
const MOST: usize = 100;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DecisionQuery {
    /// Only those after this number: `last` of the answer before.
    after: Option<u64>,
    /// At most so many, the latest; 100 where it is left out.
    limit: Option<usize>,
    key_id: Option<String>,
    /// The code or the reason.
    reason: Option<String>,
    #[param(value_type = Option<String>)]
    client_ip: Option<IpAddr>,
}

#[derive(Serialize, ToSchema)]
pub struct Decisions {
    /// The newest first.
    refusals: Vec<Decision>,
    /// How many after `after` are held no more.
    missed: u64,
    /// To ask after next.
    last: u64,
}

#[derive(Serialize, ToSchema)]
struct Decision {
    number: u64,
    at: String,
    /// As the client was told.
    code: &'static str,
    status: u16,
    /// As it was.
    reason: &'static str,
    key_id: Option<String>,
    key_name: Option<String>,
    user_id: Option<String>,
    client_ip: Option<String>,
    method: String,
    path: String,
    route: Option<String>,
    request_id: String,
}

/// The latest requests that this gateway refused: all for an administrator, those with their keys for an owner.
#[utoipa::path(
    get,
    path = "/decisions",
    operation_id = "listDecisions",
    tag = "decisions",
    params(DecisionQuery),
    security(("token" = []), ("key" = [])),
    responses((status = 200, description = "the refusals", body = Decisions), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(query): Params<DecisionQuery>,
) -> Result<Json<Decisions>, Problem> {
    let news = api.refused.after(query.after.unwrap_or_default());
    let owner = caller.owner().map(|key| &key.user_id);
    let wanted = news.refusals.iter().rev().filter(|(_, refused)| query.wants(refused, owner));
    let refusals = wanted.take(query.limit.unwrap_or(MOST)).map(decision).collect();
    Ok(Json(Decisions { refusals, missed: news.missed, last: news.last }))
}

impl DecisionQuery {
    fn wants(&self, refused: &RefusedRequest, owner: Option<&UserId>) -> bool {
        let key = refused.key.as_ref();
        owner.is_none_or(|owner| key.is_some_and(|key| key.user_id == *owner))
            && self.key_id.as_ref().is_none_or(|wanted| key.is_some_and(|key| key.key_id.as_str() == wanted))
            && self.reason.as_ref().is_none_or(|wanted| refused.code == wanted || refused.reason == wanted)
            && self.client_ip.is_none_or(|wanted| refused.client_ip == Some(wanted.to_canonical()))
    }
}

fn decision((number, refused): &Numbered) -> Decision {
    let key = refused.key.as_ref();
    Decision {
        number: *number,
        at: refused.at.to_rfc3339(),
        code: refused.code,
        status: refused.status,
        reason: refused.reason,
        key_id: key.map(|key| key.key_id.to_string()),
        key_name: key.map(|key| key.name.clone()),
        user_id: key.map(|key| key.user_id.to_string()),
        client_ip: refused.client_ip.map(|address| address.to_string()),
        method: refused.method.clone(),
        path: refused.path.clone(),
        route: refused.route.clone(),
        request_id: refused.request_id.clone(),
    }
}
