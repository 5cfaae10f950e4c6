//! Tells the upstream whose key it was. A client's own copies were removed before, on every route.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::known_key::KnownKey;
use crate::config::IdentityHeaders;

pub fn attach(headers: &mut HeaderMap, key: &KnownKey, names: &IdentityHeaders) {
    let identity = &key.identity;
    let pairs: [(&Option<HeaderName>, &HeaderValue); 5] = [
        (&names.user_id, &identity.user_id),
        (&names.key_id, &identity.key_id),
        (&names.key_name, &identity.key_name),
        (&names.environment, &identity.environment),
        (&names.scopes, &identity.scopes),
    ];
    for (name, value) in pairs {
        if let Some(name) = name {
            headers.insert(name, value.clone());
        }
    }
}
