//! A key as the first-level cache holds it: its record, and all that can be prepared once instead of at each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::limits::Cell;
use crate::model::key_record::FoundKey;

/// What a header value may not hold plainly; `%` too, so that decoding gives back exactly what was meant.
const NO_HEADER_TEXT: &AsciiSet = &CONTROLS.add(b'%');

pub struct KnownKey {
    pub key: FoundKey,
    pub identity: Identity,
    /// The hour's count; `None` without a limit.
    pub hourly: Option<Hourly>,
    /// When the store last said so, in milliseconds of the lookup's own clock.
    confirmed_at: AtomicU64,
    refreshing: AtomicBool,
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
            refreshing: AtomicBool::new(false),
        }
    }

    pub fn confirmed_at(&self) -> u64 {
        self.confirmed_at.load(Ordering::Relaxed)
    }

    /// True for the one caller that is to ask the store again.
    pub fn begin_refresh(&self) -> bool {
        !self.refreshing.swap(true, Ordering::Relaxed)
    }

    /// After a question that got no answer: it may be asked again.
    pub fn end_refresh(&self) {
        self.refreshing.store(false, Ordering::Relaxed);
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
