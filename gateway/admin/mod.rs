//! The admin listener: is it alive, is it ready, what does it count; the [`api`] by which keys are managed, and the
//! dashboard that people use it by.

pub mod api;
mod dashboard;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use self::api::Api;
use crate::observe::exposition;
use crate::observe::metrics::Metrics;

/// Whether a load balancer should send requests here.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Admin {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

pub fn router(metrics: Arc<Metrics>, api: Api) -> Router {
    let readiness = Arc::clone(&api.readiness);
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .with_state(Admin { metrics, readiness })
        .merge(api::router(api))
        .merge(dashboard::router())
}

/// 503 only before the start is complete and while draining: a store that is down is down for every gateway, and known keys go on.
async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let ready = admin.readiness.get();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_verbose = query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
    if !is_verbose {
        return (status, if ready { "ready\n" } else { "draining\n" }).into_response();
    }
    let servers: Vec<_> = admin
        .metrics
        .servers()
        .into_iter()
        .map(|server| json!({ "upstream": server.upstream, "server": server.server, "healthy": server.healthy.get() == 1 }))
        .collect();
    let store_up = admin.metrics.store_up.get() == 1;
    let redis_up = admin.metrics.redis_up.get().map(|up| up.get() == 1);
    let facts = json!({ "ready": ready, "store_up": store_up, "redis_up": redis_up, "upstreams": servers });
    (status, Json(facts)).into_response()
}

async fn metrics_page(State(admin): State<Admin>) -> Response {
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::exposition(&admin.metrics)).into_response()
}
