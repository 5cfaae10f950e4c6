//! `/api/v1/audit`: who changed what of which key, and whether that record is whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::body::Params;
use super::caller::Admin;
use super::next_page::next_page;
use super::problem::{Problem, ProblemBody};
use super::reports::instant;
use crate::audit::{self, Head, Verdict};
use crate::clock;
use crate::model::timestamp::Timestamp;
use crate::reports;
use crate::reports::audit::Event;
use crate::store::EventFilter;

/// Events that are told where nothing is said, and at most.
const MOST: usize = 50;
const MOST_OF_ALL: usize = 1_000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    key_id: Option<String>,
    action: Option<String>,
    /// As in a command: `7d`, or a time.
    since: Option<String>,
    /// At most so many, 50 where it is left out and never more than 1,000. `Link` leads to the rest.
    limit: Option<usize>,
    /// Only events that are older than this one.
    before: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HeadQuery {
    /// What an earlier answer had for `head`: it has to be in the chain still.
    head: Option<String>,
}

/// Changes of keys, the newest first.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "listEvents",
    tag = "audit",
    params(EventQuery),
    security(("token" = [])),
    responses((status = 200, description = "the changes", body = Vec<Event<'static>>), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn list(_: Admin, State(api): State<Arc<Api>>, Params(query): Params<EventQuery>) -> Result<Response, Problem> {
    let since = query.since.as_deref().map_or(Ok(Timestamp::default()), |text| instant("since", text, clock::now()))?;
    let filter = EventFilter {
        key_id: query.key_id.as_deref().map(Into::into),
        action: query.action.clone(),
        since,
        before: query.before,
        most: query.limit.unwrap_or(MOST).clamp(1, MOST_OF_ALL),
    };
    let events = api.store.list_events(&filter).await?;
    let last = events.last().filter(|_| events.len() == filter.most);
    let next = last.map(|last| query.next_page(last.event.event_id, filter.most));
    Ok((next, Json(reports::audit::json(&events))).into_response())
}

impl EventQuery {
    fn next_page(&self, before: u64, limit: usize) -> [(HeaderName, String); 1] {
        let given = [("key_id", self.key_id.as_deref()), ("action", self.action.as_deref()), ("since", self.since.as_deref())];
        let (limit, before) = (limit.to_string(), before.to_string());
        next_page("/audit", &[&[("limit", Some(&*limit)), ("before", Some(&*before))], &given[..]].concat())
    }
}

/// Read the whole chain of changes, and say whether anything in it was altered or removed.
#[utoipa::path(
    get,
    path = "/audit/verify",
    operation_id = "verifyEvents",
    tag = "audit",
    params(HeadQuery),
    security(("token" = [])),
    responses((status = 200, description = "what was found", body = Verdict), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn verify(_: Admin, State(api): State<Arc<Api>>, Params(query): Params<HeadQuery>) -> Result<Json<Verdict>, Problem> {
    let head = query.head.as_deref().map(Head::parse).transpose();
    let head = head.map_err(|says| Problem::Invalid(format!("head: {says}")))?;
    Ok(Json(audit::verify(&api.store, head.as_ref()).await?))
}
