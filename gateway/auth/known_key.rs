//! A key as the first-level cache holds it: its record, and all that can be prepared once instead of at each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::limits::Cell;
use crate::model::key_record::FoundKey;

/// What a header value may not hold plainly; `%` too, so that decoding gives back exactly what was meant.
const NO_HEADER_TEXT: &AsciiSet = &CONTROLS.add(b'%');

/// Until a store that gave no answer on a key is asked for it again, in milliseconds: one that is down fails at once, and is not to
/// be asked by each request.
const ASK_AGAIN_AFTER: u64 = 1_000;

pub struct KnownKey {
    pub key: FoundKey,
    pub identity: Identity,
    /// The hour's count; `None` without a limit.
    pub hourly: Option<Hourly>,
    /// When the store last said so, in milliseconds of the lookup's own clock.
    confirmed_at: AtomicU64,
    /// When the store is to be asked again at the earliest, by the same clock.
    ask_again_at: AtomicU64,
}

/// The values of the identity headers.
pub struct Identity {
    pub user_id: HeaderValue,
    pub key_id: HeaderValue,
    pub key_name: HeaderValue,
    pub environment: HeaderValue,
    pub scopes: HeaderValue,
}

pub struct Hourly {
    /// Requests per hour.
    pub limit: u64,
    pub cell: Arc<Cell>,
    pub headers: LimitHeaders,
}

/// The header values that change with the limit alone.
pub struct LimitHeaders {
    /// `X-RateLimit-Limit`
    pub limit: HeaderValue,
    /// `RateLimit-Policy`
    pub policy: HeaderValue,
}

impl KnownKey {
    /// `cell` is the key's, whichever of its secrets was found.
    pub fn new(key: FoundKey, cell: impl FnOnce() -> Arc<Cell>, confirmed_at: u64) -> Self {
        let hourly = key.record.rate_limit_per_hour.map(|limit| Hourly { limit, cell: cell(), headers: LimitHeaders::of(limit) });
        Self {
            identity: Identity::of(&key),
            hourly,
            key,
            confirmed_at: AtomicU64::new(confirmed_at),
            ask_again_at: AtomicU64::new(0),
        }
    }

    pub fn confirmed_at(&self) -> u64 {
        self.confirmed_at.load(Ordering::Relaxed)
    }

    /// True for the one caller that is to ask the store again: without an answer there is another a second later.
    pub fn begin_refresh(&self, now: u64) -> bool {
        let due = self.ask_again_at.load(Ordering::Relaxed);
        let begin = || self.ask_again_at.compare_exchange(due, now + ASK_AGAIN_AFTER, Ordering::Relaxed, Ordering::Relaxed);
        now >= due && begin().is_ok()
    }
}

impl LimitHeaders {
    pub fn of(limit: u64) -> Self {
        Self { limit: HeaderValue::from(limit), policy: plain_value(&format!("\"hour\";q={limit};w=3600")) }
    }
}

impl Identity {
    fn of(key: &FoundKey) -> Self {
        let record = &key.record;
        Self {
            user_id: plain_value(record.user_id.as_str()),
            key_id: plain_value(record.key_id.as_str()),
            key_name: plain_value(&record.name),
            environment: plain_value(record.environment.as_str()),
            scopes: plain_value(&record.scopes.join(" ")),
        }
    }
}

/// Percent-encodes what is no plain header text: anything but visible ASCII and inner spaces.
fn plain_value(text: &str) -> HeaderValue {
    let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && text.trim() == text && !text.contains('%');
    let value = match is_plain {
        true => HeaderValue::from_str(text),
        false => HeaderValue::from_str(&utf8_percent_encode(text, NO_HEADER_TEXT).to_string().replace(' ', "%20")),
    };
    value.expect("percent-encoded text is visible ASCII")
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;
    use crate::model::key_record::KeyRecord;
    use crate::store::testing::{hash, record};

    #[test]
    fn one_request_asks_for_a_key_again_and_without_an_answer_another_does_a_second_later() {
        let key =
            FoundKey { hash: hash("k"), secret_expires_at: None, record: KeyRecord { rate_limit_per_hour: None, ..record("k") } };
        let known = KnownKey::new(key, || unreachable!("it has no limit"), 0);
        let asking = [5_000, 5_000, 5_999, 6_000, 6_001].map(|now| known.begin_refresh(now));
        assert_eq!(asking, [true, false, false, true, false]);
    }

    #[test]
    fn plain_text_stays_and_the_rest_is_percent_encoded() {
        for (text, value) in [
            ("Admin Key", "Admin Key"),
            ("a:b/c", "a:b/c"),
            ("José", "Jos%C3%A9"),
            ("50% off", "50%25%20off"),
            ("a\r\nX-Evil: 1", "a%0D%0AX-Evil:%201"),
            (" padded", "%20padded"),
        ] {
            assert_eq!(plain_value(text), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_by_decoding(text in ".*") {
            let value = plain_value(&text);
            let decoded = percent_decode_str(value.to_str().expect("visible ASCII")).decode_utf8_lossy().into_owned();
            prop_assert_eq!(decoded, text);
        }
    }
}
