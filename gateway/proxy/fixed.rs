//! Answers that the configuration gives: redirects and fixed ones.

use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response};

use super::answer_body::AnswerBody;
use super::target;
use crate::config::{FixedAnswer, Redirect};

/// `target` is without any key.
pub fn redirect<B>(redirect: &Redirect, request: &Request<B>, target: &PathAndQuery) -> Response<AnswerBody> {
    let query = target.query().map_or_else(String::new, |query| format!("?{query}"));
    let to = redirect.to.replace("{host}", &target::host(request.uri(), request.headers().get(HOST)));
    let to = to.replace("{path}", target.path()).replace("{query}", &query);
    let mut response = Response::new(AnswerBody::Empty);
    *response.status_mut() = redirect.status;
    if let Ok(location) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

pub fn answer(fixed: &FixedAnswer) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::own(fixed.body.clone()));
    *response.status_mut() = fixed.status;
    response.headers_mut().insert(CONTENT_TYPE, fixed.content_type.clone());
    response
}
