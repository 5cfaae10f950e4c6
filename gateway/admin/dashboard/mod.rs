//! The dashboard at `/`: a page that manages keys and shows their use by way of the admin API.
//!
//! What must stay true here: the page holds nothing that is secret, so it needs no token; what it shows it asks of the API, which
//! does. It works without anything from elsewhere, and its policy lets in nothing else.

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;

/// Nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Path, kind and content of each.
const FILES: [(&str, &str, &str); 12] = [
    ("/", HTML, include_str!("index.html")),
    ("/dashboard/style.css", CSS, include_str!("style.css")),
    ("/dashboard/icon.svg", SVG, include_str!("icon.svg")),
    ("/dashboard/main.js", SCRIPT, include_str!("main.js")),
    ("/dashboard/api.js", SCRIPT, include_str!("api.js")),
    ("/dashboard/dom.js", SCRIPT, include_str!("dom.js")),
    ("/dashboard/keys.js", SCRIPT, include_str!("keys.js")),
    ("/dashboard/usage.js", SCRIPT, include_str!("usage.js")),
    ("/dashboard/sure.js", SCRIPT, include_str!("sure.js")),
    ("/dashboard/charts.js", SCRIPT, include_str!("charts.js")),
    ("/dashboard/decisions.js", SCRIPT, include_str!("decisions.js")),
    ("/dashboard/health.js", SCRIPT, include_str!("health.js")),
];

pub fn router() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        router.route(path, get(async move || (headers(kind), content).into_response()))
    })
}

fn headers(kind: &'static str) -> [(HeaderName, &'static str); 6] {
    [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        // A newer gateway has a newer page.
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ]
}
