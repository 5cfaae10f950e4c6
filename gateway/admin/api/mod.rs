//! The admin API, `/api/v1`: what the commands do, for people and programs that never log into the machine.
//!
//! What must stay true here: nothing is told or changed before its [`caller`] is known; whatever goes wrong is a [`problem`].

mod body;
mod caller;
mod explain;
mod keys;
mod limits;
mod new_key;
mod problem;
mod reports;
mod usage;
mod validate;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::{get, post};

use self::problem::Problem;
use super::Readiness;
use crate::auth::lookup::Lookup;
use crate::config::Config;
use crate::limits::Limiter;
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
}

pub fn router(api: Api) -> Router {
    let v1 = Router::new()
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/validate", post(validate::validate))
        .route("/keys/{key_id}", get(keys::show).patch(keys::update).delete(keys::revoke))
        .route("/keys/{key_id}/rotate", post(keys::rotate))
        .route("/explain", post(explain::explain))
        .route("/limits/{key_id}", get(limits::show))
        .route("/limits/{key_id}/reset", post(limits::reset))
        .route("/usage/top", get(reports::top))
        .route("/usage/series", get(reports::series))
        .route("/usage/{key_id}", get(reports::breakdown).post(usage::record))
        .route("/usage/{key_id}/debit", post(usage::record))
        .fallback(async || Problem::NotFound("there is nothing of this path".to_owned()))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed);
    Router::new().nest("/api/v1", v1).with_state(Arc::new(api))
}
