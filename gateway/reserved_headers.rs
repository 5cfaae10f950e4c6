//! The header names that are the gateway's to set, in every spelling an upstream may read as the same name.
//!
//! What must stay true here: no header or trailer of a client passes under a name that folds to an identity header. CGI-like
//! interfaces read `X_User_ID` and `X.User.ID` as `X-User-ID`, so `_` and `.` count as `-`.

use http::HeaderName;

use crate::config::IdentityHeaders;

/// Identity headers as they are called unless configured otherwise. Left out or renamed, an app may still believe them.
const DEFAULT_IDENTITY: [&str; 5] = ["x-user-id", "x-api-key-id", "x-api-key-name", "x-api-key-environment", "x-api-key-scopes"];
/// Set or extended by the gateway: a client's copy is dealt with where ours is made, but only under the exact name.
const FORWARDING: [&str; 5] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-request-id"];

#[derive(Debug)]
pub struct ReservedHeaders {
    /// Folded names.
    identity: Vec<String>,
    /// Bit n is set when some reserved name has n bytes (or 63 and more): most names are told apart by their length.
    lengths: u64,
}

impl ReservedHeaders {
    pub fn new(names: &IdentityHeaders) -> Self {
        let configured = [&names.user_id, &names.key_id, &names.key_name, &names.environment, &names.scopes];
        let mut identity: Vec<String> = configured.into_iter().flatten().map(|name| folded(name.as_str())).collect();
        identity.extend(DEFAULT_IDENTITY.map(str::to_owned));
        identity.sort_unstable();
        identity.dedup();
        let all = identity.iter().map(String::as_str).chain(FORWARDING);
        let lengths = all.fold(0, |lengths, name| lengths | length_bit(name));
        Self { identity, lengths }
    }

    /// Whether a client may not send this name.
    pub fn covers(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        if self.lengths & length_bit(name) == 0 {
            return false;
        }
        let is = |reserved: &str| reserved.len() == name.len() && name.bytes().map(fold).eq(reserved.bytes());
        self.identity.iter().any(|reserved| is(reserved)) || FORWARDING.iter().any(|ours| *ours != name && is(ours))
    }
}

fn length_bit(name: &str) -> u64 {
    1 << name.len().min(63)
}

fn folded(name: &str) -> String {
    name.bytes().map(|byte| char::from(fold(byte))).collect()
}

fn fold(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(name: &str) -> bool {
        let renamed = IdentityHeaders {
            user_id: Some(HeaderName::from_static("x-owner")),
            key_id: Some(HeaderName::from_static("x-api-key-id")),
            key_name: None,
            environment: None,
            scopes: None,
        };
        ReservedHeaders::new(&renamed).covers(&name.parse().expect("a header name"))
    }

    #[test]
    fn every_spelling_of_an_identity_header_is_covered() {
        for name in ["X-Api-Key-Id", "x_api_key_id", "X.API-Key_ID", "X-Owner", "x_owner"] {
            assert!(covers(name), "{name}");
        }
    }

    #[test]
    fn default_names_stay_covered_when_they_are_renamed_or_left_out() {
        for name in ["X-User-ID", "X_API_KEY_NAME", "x-api-key-scopes"] {
            assert!(covers(name), "{name}");
        }
    }

    #[test]
    fn forwarding_headers_are_covered_in_odd_spellings_only() {
        assert!(covers("X_Forwarded_For") && covers("x-real.ip"));
        assert!(!covers("X-Forwarded-For") && !covers("X-Request-ID"));
    }

    #[test]
    fn names_that_fold_to_nothing_of_ours_pass() {
        for name in ["grpc_metadata", "my.header", "x-user", "x-api-key", "user-id", "accept"] {
            assert!(!covers(name), "{name}");
        }
    }
}
