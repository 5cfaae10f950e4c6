//! `POST /api/v1/keys/validate`: for services that check a key themselves. The key is the credential.
//!
//! What must stay true here: it answers 200, 401 or 429, and that it could not look is none of these; an admission costs one of
//! the key's hour, whoever asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::SOURCES;
use super::problem::{Problem, ProblemBody};
use crate::auth::extract::{self, Presented};
use crate::auth::known_key::KnownKey;
use crate::auth::{Refusal, authenticate};
use crate::client_address::{client_address, is_trusted};
use crate::clock::Moment;
use crate::config::{ClientAddress, Config};
use crate::limits::Verdict;
use crate::model::address::{ClientIp, PeerAddr};

#[derive(Deserialize, ToSchema)]
struct AboutKey {
    /// Older clients put it here, newer ones into `Authorization`.
    api_key: Option<String>,
    service_id: Option<String>,
    /// Whose address is to be judged; believed from trusted networks alone.
    client_ip: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Valid {
    user_id: String,
    key_id: String,
    /// As asked.
    service_id: Option<String>,
    scopes: Vec<String>,
    rate_limit_per_hour: Option<u64>,
}

/// Whether a key is good, for a service that checks keys itself. Costs one of the key's hour.
#[utoipa::path(
    post,
    path = "/keys/validate",
    operation_id = "validateKey",
    tag = "keys",
    request_body = AboutKey,
    security((), ("key" = [])),
    responses((status = 200, description = "the key is good", body = Valid), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn validate(
    State(api): State<Arc<Api>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Valid>, Problem> {
    let config = api.config.load_full();
    let question: AboutKey = serde_json::from_slice(&body).map_err(|_| Problem::InvalidCredential)?;
    let presented = presented(&question, &headers, &config);
    let client = client(&question, PeerAddr::new(peer), &headers, &config.client_address);
    let now = Moment::now();
    let key = authenticate(presented, client, now, &api.lookup).await.map_err(|refusal| match refusal {
        Refusal::Unavailable(_) => Problem::StoreUnavailable,
        _ => Problem::InvalidCredential,
    })?;
    take_permit(&api, &key, now).await?;
    Ok(Json(Valid {
        user_id: key.user_id().to_owned(),
        key_id: key.key_id().to_string(),
        service_id: question.service_id,
        scopes: key.scopes().map(str::to_owned).collect(),
        rate_limit_per_hour: key.hourly().map(|hourly| hourly.limit),
    }))
}

/// The key of the body and that of the headers, where there are both, must be one.
fn presented<'a>(question: &'a AboutKey, headers: &'a HeaderMap, config: &'a Config) -> Presented<'a> {
    let of_headers = extract::find(headers, None, SOURCES, &config.keys.prefix);
    let Some(key) = question.api_key.as_deref().map(str::as_bytes) else { return of_headers };
    let of_body = Presented::one(key, &config.keys.prefix);
    match of_headers == Presented::Nothing || of_headers == of_body {
        true => of_body,
        false => Presented::Several,
    }
}

/// `None`: nobody can say; a key with a list of addresses is refused then.
fn client(question: &AboutKey, peer: PeerAddr, headers: &HeaderMap, rules: &ClientAddress) -> Option<ClientIp> {
    match &question.client_ip {
        Some(told) if is_trusted(peer.ip(), rules) => told.trim().parse::<IpAddr>().ok().map(ClientIp::new),
        _ => client_address(peer, headers, rules),
    }
}

async fn take_permit(api: &Api, key: &KnownKey, now: Moment) -> Result<(), Problem> {
    let Some(hourly) = key.hourly() else { return Ok(()) };
    let verdict = match hourly.cell.try_take(hourly.limit, now.wall) {
        Some(verdict) => verdict,
        None => api.limiter.take(&hourly.cell, hourly.limit).await,
    };
    match verdict {
        Verdict::Admitted(_) => Ok(()),
        Verdict::Spent { retry_after_secs, .. } => Err(Problem::RateLimited(retry_after_secs)),
        Verdict::Unavailable => Err(Problem::StoreUnavailable),
    }
}
