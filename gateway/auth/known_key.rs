//! A key as the first-level cache holds it: what a request needs of its record.
//!
//! What must stay true here: of these there are as many as keys in use, so whatever few keys have, or many keys share, is not in each
//! of them (`tests/memory.rs` counts the bytes); and nothing that a request asks for takes an allocation.

use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::limits::SharedCell;
use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::ids::KeyId;
use crate::model::key_record::{FoundKey, KeyRecord, Validity};
use crate::model::timestamp::Timestamp;

/// What a header value may not hold plainly; `%` too, so that decoding gives back exactly what was meant.
const NO_HEADER_TEXT: &AsciiSet = &CONTROLS.add(b'%');

/// Until a store that gave no answer on a key is asked for it again, in milliseconds: one that is down fails at once, and is not to
/// be asked by each request.
const ASK_AGAIN_AFTER: u64 = 1_000;

/// Nobody counts weak references to it, which would take 8 bytes of each.
pub type SharedKey = triomphe::Arc<KnownKey>;

pub struct KnownKey {
    count: Count,
    /// The user's id and the key's name.
    names: Box<str>,
    /// Where the name begins in them.
    name_at: u32,
    pub environment: Environment,
    /// Of the secret that was found, as the next two: a [`Validity`] in fewer bytes.
    ends_at: Timestamp,
    is_active: bool,
    is_revoked: bool,
    rest: Option<Box<Rest>>,
    /// When the store last said so, in milliseconds of the lookup's own clock.
    confirmed_at: u64,
    /// When the store is to be asked again at the earliest, by the same clock.
    ask_again_at: AtomicU64,
}

/// How its requests are counted, and of which key they are.
enum Count {
    /// The cell has the id.
    Hourly(Hourly),
    Unlimited(KeyId),
}

pub struct Hourly {
    /// Requests per hour.
    pub limit: u64,
    pub cell: SharedCell,
}

/// What few keys have.
#[derive(Default, PartialEq)]
struct Rest {
    allowed_ips: IpNetSet,
    /// With a space between them.
    scopes: Box<str>,
    scope_ends: Box<[u32]>,
    /// Header values of the texts that are none themselves.
    encoded: Box<[(Text, Box<str>)]>,
}

/// A text that a header may tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    UserId,
    KeyId,
    Name,
    /// With a space between them.
    Scopes,
}

impl KnownKey {
    /// `cell` is the key's, whichever of its secrets was found.
    pub fn new(key: &FoundKey, cell: impl FnOnce() -> SharedCell, confirmed_at: u64) -> Self {
        let record = &key.record;
        let Validity { is_active, is_revoked, ends_at } = key.validity();
        Self {
            count: match record.rate_limit_per_hour {
                Some(limit) => Count::Hourly(Hourly { limit, cell: cell() }),
                None => Count::Unlimited(record.key_id.clone()),
            },
            names: [record.user_id.as_str(), &record.name].concat().into(),
            name_at: place(record.user_id.as_str().len()),
            environment: record.environment,
            ends_at,
            is_active,
            is_revoked,
            rest: Rest::of(record),
            confirmed_at,
            ask_again_at: AtomicU64::new(0),
        }
    }

    pub fn key_id(&self) -> &KeyId {
        match &self.count {
            Count::Hourly(hourly) => hourly.cell.key_id(),
            Count::Unlimited(key_id) => key_id,
        }
    }

    /// The hour's count; `None` without a limit.
    pub fn hourly(&self) -> Option<&Hourly> {
        match &self.count {
            Count::Hourly(hourly) => Some(hourly),
            Count::Unlimited(_) => None,
        }
    }

    pub fn validity(&self) -> Validity {
        Validity { is_active: self.is_active, is_revoked: self.is_revoked, ends_at: self.ends_at }
    }

    pub fn user_id(&self) -> &str {
        self.text(Text::UserId)
    }

    pub fn text(&self, text: Text) -> &str {
        let (user_id, name) = self.names.split_at(self.name_at as usize);
        match text {
            Text::UserId => user_id,
            Text::KeyId => self.key_id().as_str(),
            Text::Name => name,
            Text::Scopes => self.rest.as_ref().map_or("", |rest| &rest.scopes),
        }
    }

    /// As a header value: percent-encoded where it is no plain header text, anything but visible ASCII and inner spaces.
    pub fn value(&self, text: Text) -> &str {
        let encoded = self.rest.as_ref().and_then(|rest| rest.encoded.iter().find(|(encoded, _)| *encoded == text));
        encoded.map_or_else(|| self.text(text), |(_, value)| value)
    }

    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.rest.iter().flat_map(|rest| rest.scopes())
    }

    /// All of those are needed.
    pub fn has_scopes(&self, needed: &[String]) -> bool {
        needed.iter().all(|scope| self.scopes().any(|own| own == scope))
    }

    /// Where the key may be used from; `None`: anywhere.
    pub fn allowed_ips(&self) -> Option<&IpNetSet> {
        self.rest.as_ref().map(|rest| &rest.allowed_ips)
    }

    pub fn confirmed_at(&self) -> u64 {
        self.confirmed_at
    }

    /// True for the one caller that is to ask the store again: without an answer there is another a second later.
    pub fn begin_refresh(&self, now: u64) -> bool {
        let due = self.ask_again_at.load(Ordering::Relaxed);
        let begin = || self.ask_again_at.compare_exchange(due, now + ASK_AGAIN_AFTER, Ordering::Relaxed, Ordering::Relaxed);
        now >= due && begin().is_ok()
    }
}

impl Rest {
    /// `None` where there is nothing of it.
    fn of(record: &KeyRecord) -> Option<Box<Self>> {
        let scopes = record.scopes.join(" ");
        let texts = [
            (Text::UserId, record.user_id.as_str()),
            (Text::KeyId, record.key_id.as_str()),
            (Text::Name, &record.name),
            (Text::Scopes, &scopes),
        ];
        let encoded = texts.into_iter().filter(|(_, text)| !is_plain(text)).map(|(which, text)| (which, encode(text)));
        let ends = record.scopes.iter().scan(0, |end, scope| {
            *end += scope.len() + 1;
            Some(place(*end - 1))
        });
        let (encoded, scope_ends) = (encoded.collect(), ends.collect());
        let rest = Self { allowed_ips: record.allowed_ips.clone(), scopes: scopes.into(), scope_ends, encoded };
        (rest != Self::default()).then(|| Box::new(rest))
    }

    fn scopes(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.scope_ends.iter().map(|end| *end as usize + 1));
        starts.zip(&self.scope_ends).map(|(start, end)| &self.scopes[start..*end as usize])
    }
}

fn place(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("no store holds a row of 4 GiB")
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && text.trim() == text && !text.contains('%')
}

fn encode(text: &str) -> Box<str> {
    utf8_percent_encode(text, NO_HEADER_TEXT).to_string().replace(' ', "%20").into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;
    use crate::store::testing::{hash, record};

    /// Of a key without a limit.
    fn known(change: impl FnOnce(&mut KeyRecord)) -> KnownKey {
        let mut record = KeyRecord { rate_limit_per_hour: None, ..record("k") };
        change(&mut record);
        let key = FoundKey { hash: hash("k"), secret_expires_at: None, record };
        KnownKey::new(&key, || unreachable!("it has no limit"), 0)
    }

    #[test]
    fn one_request_asks_for_a_key_again_and_without_an_answer_another_does_a_second_later() {
        let known = known(|_| {});
        let asking = [5_000, 5_000, 5_999, 6_000, 6_001].map(|now| known.begin_refresh(now));
        assert_eq!(asking, [true, false, false, true, false]);
    }

    #[test]
    fn plain_text_stays_and_the_rest_is_percent_encoded() {
        for (text, value) in [
            ("Admin Key", "Admin Key"),
            ("a:b/c", "a:b/c"),
            ("", ""),
            ("José", "Jos%C3%A9"),
            ("50% off", "50%25%20off"),
            ("a\r\nX-Evil: 1", "a%0D%0AX-Evil:%201"),
            (" padded", "%20padded"),
        ] {
            let known = known(|record| record.name = text.to_owned());
            assert_eq!((known.text(Text::Name), known.value(Text::Name)), (text, value));
            assert_eq!(known.rest.is_some(), text != value);
        }
    }

    /// A space within one does not make two of it.
    #[test]
    fn a_key_has_its_scopes_and_no_part_of_them() {
        let known = known(|record| record.scopes = ["read", "", "a b", "wríte"].map(str::to_owned).into());
        assert_eq!(known.scopes().collect::<Vec<_>>(), ["read", "", "a b", "wríte"]);
        assert_eq!((known.text(Text::Scopes), known.value(Text::Scopes)), ("read  a b wríte", "read%20%20a%20b%20wr%C3%ADte"));
        let has = |needed: &[&str]| known.has_scopes(&needed.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>());
        assert!(has(&[]) && has(&["read"]) && has(&["a b", "read"]));
        assert!(!has(&["a"]) && !has(&["b"]) && !has(&["rea"]) && !has(&["read", "write"]));
    }

    #[test]
    fn without_scopes_a_key_has_none_that_is_needed() {
        let known = known(|record| record.scopes = vec![]);
        assert_eq!((known.scopes().count(), known.value(Text::Scopes)), (0, ""));
        assert!(known.has_scopes(&[]) && !known.has_scopes(&[String::new()]));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_so_it_does_from_its_header_value(texts in proptest::array::uniform3(".*"), scopes in prop::collection::vec(".*", 0..4)) {
            let [user_id, key_id, name] = &texts;
            let known = known(|record| {
                (record.user_id, record.key_id) = (user_id.as_str().into(), key_id.as_str().into());
                (record.name, record.scopes) = (name.clone(), scopes.clone());
            });
            prop_assert_eq!(known.scopes().collect::<Vec<_>>(), &scopes[..]);
            let meant = [(Text::UserId, user_id), (Text::KeyId, key_id), (Text::Name, name), (Text::Scopes, &scopes.join(" "))];
            for (which, text) in meant {
                prop_assert_eq!(known.text(which), text);
                let value = HeaderValue::from_str(known.value(which)).expect("a header value");
                let value = value.to_str().expect("visible ASCII");
                prop_assert_eq!(value.trim(), value);
                prop_assert_eq!(&percent_decode_str(value).decode_utf8_lossy(), text);
            }
        }
    }
}
