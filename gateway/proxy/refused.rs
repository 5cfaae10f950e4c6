//! What is noted of a request that is refused, for whoever runs the gateway.

use super::failure::{Failure, Fault};
use super::handle::Exchange;
use super::{respond, target};
use crate::auth::known_key::KnownKey;
use crate::observe::metrics::AuthResult;
use crate::observe::refused_requests::{PresentedKey, RefusedRequest};

/// Bytes of a path that are kept.
const MOST_OF_PATH: usize = 256;

/// Where an upstream failed, nobody was refused anything.
pub(super) fn note(exchange: &mut Exchange<'_>, failure: &Failure) {
    if failure.fault() == Fault::Upstream {
        return;
    }
    let admitted = exchange.admitted.as_ref().map(|(key, _)| key);
    let key = exchange.presented.as_ref().or(admitted).map(|key| presented(key));
    let reason = reason(failure, exchange.presented.as_deref());
    let route = exchange.route.map(|route| route.label.clone());
    let worker = exchange.worker;
    let record = exchange.record();
    worker.refused.note(RefusedRequest {
        at: record.arrived.wall,
        code: failure.code(),
        status: respond::words(failure).0.as_u16(),
        reason,
        key,
        client_ip: record.client_ip,
        method: record.method().as_str().to_owned(),
        path: shortened(target::path(record.uri())),
        route,
        request_id: record.request_id.as_str().to_owned(),
    });
}

fn presented(key: &KnownKey) -> PresentedKey {
    let record = &key.key.record;
    PresentedKey { key_id: record.key_id.clone(), user_id: record.user_id.clone(), name: record.name.clone() }
}

/// More than the client is told.
fn reason(failure: &Failure, key: Option<&KnownKey>) -> &'static str {
    match failure {
        Failure::InvalidKey(AuthResult::Inactive) => match key.and_then(|key| key.key.record.revoked_at) {
            Some(_) => "revoked",
            None => "disabled",
        },
        Failure::InvalidKey(AuthResult::Expired) => "expired",
        Failure::InvalidKey(_) => "unknown",
        Failure::TooFast => "too_fast",
        Failure::TooManyAtOnce => "too_many_at_once",
        Failure::RateLimited { .. } => "limit_spent",
        Failure::BadRequest(says) => says,
        _ => failure.code(),
    }
}

/// At a boundary of its characters.
fn shortened(path: &str) -> String {
    path[..path.floor_char_boundary(MOST_OF_PATH)].to_owned()
}
