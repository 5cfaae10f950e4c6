//! Cross-origin requests, where a route has rules for them (Fetch standard, 3.2 "CORS protocol").
//!
//! What must stay true here: a preflight is answered without a key, since a browser sends none with it, and reaches no
//! upstream; and every answer on the route carries the headers, refusals too, or a page could not read its own 401.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::answer_body::AnswerBody;
use crate::config::{Cors, Origins};

/// The answer to a preflight, or `None` when the request is none.
pub fn preflight(method: &Method, headers: &HeaderMap, rules: &Cors) -> Option<Response<AnswerBody>> {
    let is_preflight =
        *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return None;
    }
    let mut response = Response::new(AnswerBody::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    if allowed_origin(headers.get(ORIGIN), rules).is_some() {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, rules.methods.clone());
        if let Some(allowed) = rules.headers.as_ref().or_else(|| headers.get(ACCESS_CONTROL_REQUEST_HEADERS)) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, rules.max_age.clone());
        let varies = HeaderValue::from_static("access-control-request-method, access-control-request-headers");
        answer.append(VARY, varies);
    }
    Some(response)
}

/// Replaces what the upstream said of origins by the route's rules.
pub fn add(answer: &mut HeaderMap, origin: Option<&HeaderValue>, rules: &Cors) {
    for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
        answer.remove(name);
    }
    if matches!(rules.origins, Origins::These(_)) {
        answer.append(VARY, HeaderValue::from_static("origin"));
    }
    let Some(origin) = allowed_origin(origin, rules) else { return };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if rules.credentials {
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if let Some(exposed) = &rules.expose {
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
    }
}

fn allowed_origin(origin: Option<&HeaderValue>, rules: &Cors) -> Option<HeaderValue> {
    let origin = origin?;
    match &rules.origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::These(allowed) => allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
    }
}
