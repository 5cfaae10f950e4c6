//! The admin API, `/api/v1`: what the commands do, for people and programs that never log into the machine.
//!
//! What must stay true here: nothing is told or changed before its [`caller`] is known; whatever goes wrong is a [`problem`].

#![allow(unused_qualifications, reason = "the macros that describe a call write paths out")]

mod audit;
mod body;
mod caller;
mod decisions;
mod explain;
mod export;
mod idempotency;
mod keys;
mod limits;
mod new_key;
mod next_page;
mod precondition;
mod problem;
mod reports;
mod usage;
mod validate;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::caller::Caller;
use self::problem::Problem;
use super::Readiness;
use crate::auth::lookup::Lookup;
use crate::config::Config;
use crate::limits::Limiter;
use crate::observe::metrics::Metrics;
use crate::observe::refusals::Refusals;
use crate::store::Store;
use crate::usage::Recorder;

/// What the API works with.
pub struct Api {
    /// As it is in force.
    pub config: Arc<ArcSwap<Config>>,
    pub store: Store,
    pub lookup: Arc<Lookup>,
    pub limiter: Arc<Limiter>,
    /// `None` where usage is not recorded.
    pub recorder: Option<Recorder>,
    pub readiness: Arc<Readiness>,
    pub metrics: Arc<Metrics>,
    pub refusals: Arc<Refusals>,
}

/// Named in `security` of each call.
struct Credentials;

#[derive(OpenApi)]
#[openapi(
    info(title = "hokusai-gateway admin API", description = "Keys, limits and usage. docs/admin-api.md says more."),
    modifiers(&Credentials)
)]
struct Description;

pub fn router(api: Api) -> Router {
    let calls = OpenApiRouter::new()
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(validate::validate))
        .routes(routes!(keys::show, keys::update, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(explain::explain))
        .routes(routes!(decisions::list))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(limits::show))
        .routes(routes!(limits::reset))
        .routes(routes!(reports::top))
        .routes(routes!(reports::series))
        .routes(routes!(reports::all_keys))
        .routes(routes!(export::export))
        .routes(routes!(reports::breakdown, usage::record))
        // Older clients know it by this name; it is not described to new ones.
        .route("/usage/{key_id}/debit", post(usage::record));
    let (router, description) = OpenApiRouter::with_openapi(Description::openapi()).nest("/api/v1", calls).split_for_parts();
    let described = Json(description);
    router
        .route("/api/v1/openapi.json", get(async |_: Caller| described))
        .route("/api/v1/{*rest}", any(async || Problem::NotFound("there is nothing of this path".to_owned())))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(map_response(not_kept))
        .with_state(Arc::new(api))
}

/// Answers hold keys, and are true for the moment.
async fn not_kept(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Modify for Credentials {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer =
            |says: &str| SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(says)).build());
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", bearer("One of HOKUSAI_ADMIN_TOKEN of the gateway"));
        components.add_security_scheme("key", bearer("A key: its owner's calls"));
    }
}
