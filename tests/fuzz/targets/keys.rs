//! Keys in requests. The bytes: which sources are accepted, then the target and a header on each line.

use hokusai_gateway::auth::extract::{Presented, X_API_KEY, cut_query, find, is_key};
use hokusai_gateway::config::Accept;
use hokusai_gateway::model::api_key::looks_like_ours;
use hokusai_gateway::model::key_hash::KeyHash;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

const PREFIX: &str = "hk";

pub fn holds(bytes: &[u8]) {
    let Some((bits, request)) = bytes.split_first() else { return };
    let is_set = |bit: u8| bits & 1 << bit != 0;
    let accept = Accept { bearer: is_set(0), apikey: is_set(1), x_api_key: is_set(2), query: is_set(3) };
    let mut lines = request.split(|&byte| byte == b'\n');
    let Ok(target) = PathAndQuery::try_from(lines.next().unwrap_or_default()) else { return };
    let headers: HeaderMap = lines.filter_map(header).collect();

    let candidates = candidates(&headers, &target);
    match find(&headers, target.query(), accept, PREFIX) {
        Presented::Nothing => {}
        Presented::One { hash, .. } => assert!(candidates.iter().any(|candidate| KeyHash::of(candidate) == hash)),
        Presented::Several => assert!(candidates.iter().any(|candidate| *candidate != candidates[0])),
    }
    let kept: HeaderMap = headers
        .iter()
        .filter(|(name, value)| !is_key(name, value, accept, PREFIX))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let cut = cut_query(&target, accept, PREFIX).unwrap_or_else(|| target.clone());
    assert_eq!(find(&kept, cut.query(), accept, PREFIX), Presented::Nothing, "what is read is cut");
    assert!(!self::candidates(&kept, &cut).iter().any(|left| looks_like_ours(left, PREFIX)), "a key of ours goes on");
    only_keys_were_cut(&target, &cut);
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
}

/// Every text that stands where a key may stand, whatever is accepted.
fn candidates(headers: &HeaderMap, target: &PathAndQuery) -> Vec<Vec<u8>> {
    let trimmed = |value: &[u8]| value.trim_ascii().to_vec();
    let after_scheme = |value: &[u8]| value.iter().position(u8::is_ascii_whitespace).map(|space| trimmed(&value[space..]));
    let authorizations = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let mut candidates: Vec<Vec<u8>> =
        authorizations.flat_map(|value| [Some(trimmed(value)), after_scheme(value)]).flatten().collect();
    candidates.extend(headers.get_all(X_API_KEY).iter().map(|value| trimmed(value.as_bytes())));
    let named = pairs(target).into_iter().filter(|pair| is_named(pair));
    candidates.extend(named.map(|pair| percent_decode_str(pair.split_once('=').unwrap_or_default().1).collect::<Vec<u8>>()));
    candidates
}

fn pairs(target: &PathAndQuery) -> Vec<&str> {
    target.query().map_or(vec![], |query| query.split('&').collect())
}

fn is_named(pair: &str) -> bool {
    percent_decode_str(pair.split('=').next().unwrap_or_default()).eq(b"api_key".iter().copied())
}

fn only_keys_were_cut(target: &PathAndQuery, cut: &PathAndQuery) {
    assert_eq!(target.path(), cut.path());
    let mut left = pairs(cut).into_iter().peekable();
    for pair in pairs(target) {
        assert!(left.next_if_eq(&pair).is_some() || is_named(pair), "{pair} is lost");
    }
    assert_eq!(left.next(), None);
}
