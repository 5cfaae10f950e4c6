//! Finds the key in a request, and cuts keys out of what is forwarded.
//!
//! What must stay true here: a credential leaves this file only as its hash, and as a [`Credential`]. What [`find`] reads
//! [`is_key`] names and [`cut_query`] removes, from the sources the route accepts; and what has the form of a key of ours, from any
//! source.

use std::borrow::Cow;
use std::fmt;

use http::header::{AUTHORIZATION, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;

use crate::config::Accept;
use crate::model::api_key::{Form, looks_like_ours};
use crate::model::key_hash::KeyHash;

pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The query parameter that may hold a key.
const PARAMETER: &[u8] = b"api_key";

/// What was presented.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    Nothing,
    One {
        hash: KeyHash,
        credential: Credential<'a>,
    },
    /// Two different ones: whoever sent them cannot mean both.
    Several,
}

/// The presented text itself, for a key of which no SHA-256 is known yet. Never printed.
#[derive(PartialEq, Eq)]
pub struct Credential<'a> {
    text: Cow<'a, [u8]>,
    /// That of our own keys.
    prefix: &'a str,
}

impl<'a> Presented<'a> {
    /// `prefix` is `keys.prefix`.
    pub fn one(key: impl Into<Cow<'a, [u8]>>, prefix: &'a str) -> Self {
        let text = key.into();
        Self::One { hash: KeyHash::of(&text), credential: Credential { text, prefix } }
    }
}

impl Credential<'_> {
    pub fn expose(&self) -> &[u8] {
        &self.text
    }

    pub fn form(&self) -> Form {
        Form::of(&self.text, self.prefix)
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// Looks into the accepted sources; `prefix` is `keys.prefix`.
pub fn find<'a>(headers: &'a HeaderMap, query: Option<&'a str>, accept: Accept, prefix: &'a str) -> Presented<'a> {
    let mut found: Option<Cow<'_, [u8]>> = None;
    for credential in authorizations(headers, accept).chain(x_api_keys(headers, accept)).chain(parameters(query, accept)) {
        match &found {
            Some(first) if *first != credential => return Presented::Several,
            _ => found = Some(credential),
        }
    }
    found.map_or(Presented::Nothing, |key| Presented::one(key, prefix))
}

/// Whether this line of a request holds a key, and is not to be forwarded. `accept` is empty for a route that asks for none.
pub fn is_key(name: &HeaderName, value: &HeaderValue, accept: Accept, prefix: &str) -> bool {
    let value = value.as_bytes();
    match *name {
        AUTHORIZATION => accepted_scheme(value, accept).is_some() || looks_like_ours(after_scheme(value), prefix),
        _ if *name == X_API_KEY => accept.x_api_key || looks_like_ours(value.trim_ascii(), prefix),
        _ => false,
    }
}

/// The target without the parameter that held a key, all else byte for byte; `None` when there is nothing to cut.
pub fn cut_query(target: &PathAndQuery, accept: Accept, prefix: &str) -> Option<PathAndQuery> {
    let query = target.query()?;
    let holds_key = |pair: &&str| parameter_value(pair).is_some_and(|value| accept.query || looks_like_ours(&value, prefix));
    if !query.split('&').any(|pair| holds_key(&pair)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !holds_key(pair)).collect();
    let rest = match kept.is_empty() {
        true => target.path().to_owned(),
        false => format!("{}?{}", target.path(), kept.join("&")),
    };
    Some(rest.try_into().expect("a part of a valid target is a valid target"))
}

fn authorizations(headers: &HeaderMap, accept: Accept) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let values = headers.get_all(AUTHORIZATION).iter();
    values.filter_map(move |value| accepted_scheme(value.as_bytes(), accept)).filter(|key| !key.is_empty()).map(Cow::Borrowed)
}

fn x_api_keys(headers: &HeaderMap, accept: Accept) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let lines = accept.x_api_key.then(|| headers.get_all(X_API_KEY).iter()).into_iter().flatten();
    lines.map(|value| value.as_bytes().trim_ascii()).filter(|key| !key.is_empty()).map(Cow::Borrowed)
}

fn parameters(query: Option<&str>, accept: Accept) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let pairs = query.filter(|_| accept.query).into_iter().flat_map(|query| query.split('&'));
    pairs.filter_map(parameter_value).filter(|key| !key.is_empty())
}

/// The credential behind `Bearer` or `ApiKey`, when that scheme is accepted. Schemes ignore case (RFC 9110 11.1).
fn accepted_scheme(value: &[u8], accept: Accept) -> Option<&[u8]> {
    // Both have six letters.
    let (scheme, rest) = value.split_at_checked(6)?;
    let accepted =
        (accept.bearer && scheme.eq_ignore_ascii_case(b"bearer")) || (accept.apikey && scheme.eq_ignore_ascii_case(b"apikey"));
    (accepted && (rest.is_empty() || rest[0] == b' ')).then(|| rest.trim_ascii())
}

/// All of it where there is no scheme.
fn after_scheme(value: &[u8]) -> &[u8] {
    let space = value.iter().position(u8::is_ascii_whitespace);
    value[space.unwrap_or(0)..].trim_ascii()
}

/// The decoded value of an `api_key` parameter, however its name is spelled.
fn parameter_value(pair: &str) -> Option<Cow<'_, [u8]>> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let is_ours = percent_decode(name.as_bytes()).eq(PARAMETER.iter().copied());
    is_ours.then(|| percent_decode(value.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::api_key::{ApiKey, Environment};

    const HEADERS: Accept = Accept { bearer: true, apikey: true, x_api_key: true, query: false };
    const ALL: Accept = Accept { query: true, ..HEADERS };
    const NONE: Accept = Accept { bearer: false, apikey: false, x_api_key: false, query: false };

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn found(lines: &[(&'static str, &str)], query: Option<&str>, accept: Accept) -> Option<KeyHash> {
        match find(&headers(lines), query, accept, "hk") {
            Presented::One { hash, .. } => Some(hash),
            Presented::Nothing => None,
            Presented::Several => panic!("several"),
        }
    }

    #[test]
    fn each_source_is_read_when_it_is_accepted_and_not_otherwise() {
        let key = Some(KeyHash::of(b"secret"));
        for scheme in ["Bearer secret", "bearer secret", "BEARER   secret ", "ApiKey secret", "apikey secret"] {
            assert_eq!(found(&[("authorization", scheme)], None, ALL), key, "{scheme}");
            assert_eq!(found(&[("authorization", scheme)], None, NONE), None);
        }
        assert_eq!(found(&[("x-api-key", "secret")], None, ALL), key);
        assert_eq!(found(&[("x-api-key", "secret")], None, NONE), None);
        assert_eq!(found(&[], Some("a=1&api_key=secret"), ALL), key);
        assert_eq!(found(&[], Some("api%5Fkey=secre%74"), ALL), key);
        assert_eq!(found(&[], Some("api_key=secret"), HEADERS), None);
        assert_eq!(found(&[("authorization", "Basic secret")], Some("API_KEY=secret"), ALL), None);
        assert_eq!(found(&[("authorization", "Bearer "), ("x-api-key", "")], Some("api_key="), ALL), None);
    }

    #[test]
    fn two_different_keys_are_several_and_the_same_twice_is_one() {
        let two = headers(&[("authorization", "Bearer a"), ("x-api-key", "b")]);
        assert_eq!(find(&two, None, HEADERS, "hk"), Presented::Several);
        assert_eq!(find(&headers(&[("x-api-key", "a"), ("x-api-key", "b")]), None, HEADERS, "hk"), Presented::Several);
        assert!(found(&[("authorization", "Bearer a"), ("x-api-key", "a")], None, HEADERS).is_some());
        let unread = Accept { bearer: false, ..HEADERS };
        assert_eq!(found(&[("authorization", "Bearer a"), ("x-api-key", "b")], None, unread), Some(KeyHash::of(b"b")));
    }

    /// The values that may be forwarded.
    fn kept(lines: &HeaderMap, accept: Accept) -> Vec<&str> {
        let kept = lines.iter().filter(|(name, value)| !is_key(name, value, accept, "hk"));
        kept.map(|(_, value)| value.to_str().expect("text")).collect()
    }

    #[test]
    fn what_is_read_is_cut_and_what_is_not_stays() {
        let lines = headers(&[("authorization", "Bearer a"), ("authorization", "Basic b"), ("x-api-key", "c"), ("x-other", "d")]);
        assert_eq!(kept(&lines, HEADERS), ["Basic b", "d"]);
    }

    #[test]
    fn what_looks_like_a_key_of_ours_is_cut_from_every_source_even_where_none_is_asked_for() {
        let key = ApiKey::mint("hk", Environment::Test).expect("randomness");
        let token = format!("Token {}", key.expose());
        let lines = headers(&[("authorization", &token), ("authorization", "Bearer eyJhbGciOiJI"), ("x-api-key", key.expose())]);
        assert_eq!(kept(&lines, NONE), ["Bearer eyJhbGciOiJI"]);
        assert_eq!(kept(&headers(&[("authorization", key.expose()), ("authorization", "Basic")]), NONE), ["Basic"]);
        let target = format!("/x?api_key={}", key.expose()).try_into().expect("a target");
        assert_eq!(cut_query(&target, NONE, "hk").expect("something to cut").as_str(), "/x");
    }

    #[test]
    fn other_parameters_are_kept_byte_for_byte() {
        for (target, kept) in [
            ("/x?a=%20&api_key=s&&b=c+d", Some("/x?a=%20&&b=c+d")),
            ("/x?api_key=s&a=1&api%5fkey=t", Some("/x?a=1")),
            ("/x?api_key", Some("/x")),
            ("/x?my_api_key=s", None),
            ("/x", None),
        ] {
            let target: PathAndQuery = target.try_into().expect("a target");
            assert_eq!(cut_query(&target, ALL, "hk").as_ref().map(PathAndQuery::as_str), kept, "{target}");
        }
    }

    proptest! {
        #[test]
        fn any_header_value_is_read_without_a_panic(value in proptest::collection::vec(any::<u8>(), 0..80), query in "[!-~]{0,60}") {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut lines = HeaderMap::new();
                lines.append(AUTHORIZATION, value);
                find(&lines, Some(&query), ALL, "hk");
                if is_key(&AUTHORIZATION, &lines[AUTHORIZATION], ALL, "hk") {
                    lines.clear();
                }
                prop_assert_eq!(find(&lines, None, HEADERS, "hk"), Presented::Nothing);
            }
        }
    }
}
