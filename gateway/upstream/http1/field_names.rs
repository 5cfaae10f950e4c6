//! The names of the fields that an upstream answers with: an app sends the same ones with each answer, mostly, in the same order.
//!
//! What must stay true here: a name is what its bytes say, whatever was seen before; and what is kept is bounded. What it is good for:
//! a name that is not one of HTTP's own would be an allocation in each answer.

use http::HeaderName;
use memchr::memchr;

/// Fields whose names are kept. Those of an answer that has more come last.
const MOST: usize = 32;
/// Bytes of a name that is kept.
const LONGEST: usize = 31;

/// Those of the last answers on a connection, by their place in the head.
#[derive(Debug, Default)]
pub struct FieldNames(Vec<Seen>);

#[derive(Debug)]
struct Seen {
    /// As it was written, which is compared in one step where letters without their case are not.
    bytes: [u8; LONGEST],
    length: u8,
    name: HeaderName,
}

/// The name of a field, and what stands behind its colon. `None` where a line has none, or no token before it (RFC 9110 5.1).
pub fn split(line: &[u8]) -> Option<(HeaderName, &[u8])> {
    let (name, value) = line.split_at(memchr(b':', line)?);
    Some((HeaderName::from_bytes(name).ok()?, &value[1..]))
}

impl FieldNames {
    /// The same, of the field in this place, the first of which is 0.
    pub fn split<'l>(&mut self, place: usize, line: &'l [u8]) -> Option<(HeaderName, &'l [u8])> {
        // A name has no colon in it: what begins with a name and one is that field.
        if let Some(seen) = self.0.get(place)
            && let Some([b':', value @ ..]) = line.strip_prefix(seen.bytes())
        {
            return Some((seen.name.clone(), value));
        }
        let (name, value) = split(line)?;
        let bytes = &line[..line.len() - value.len() - 1];
        if bytes.len() <= LONGEST {
            self.keep(place, Seen::new(bytes, name.clone()));
        }
        Some((name, value))
    }

    fn keep(&mut self, place: usize, new: Seen) {
        if let Some(seen) = self.0.get_mut(place) {
            *seen = new;
        } else if place == self.0.len() && place < MOST {
            self.0.push(new);
        }
    }
}

impl Seen {
    fn new(bytes: &[u8], name: HeaderName) -> Self {
        let mut kept = [0; LONGEST];
        kept[..bytes.len()].copy_from_slice(bytes);
        Self { bytes: kept, length: u8::try_from(bytes.len()).expect("LONGEST fits"), name }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_what_its_bytes_say_whatever_was_seen_before(
            heads in prop::collection::vec(prop::collection::vec("[!-~]{0,3}|[X-Zx-z]-[Aa]:?|(Date|date):? ?a?:?|[A-B]{30,33}:", 0..5), 1..9),
        ) {
            let mut names = FieldNames::default();
            for (place, line) in heads.iter().flat_map(|head| head.iter().enumerate()) {
                let split = line.split_once(':').and_then(|(name, value)| Some((name.parse().ok()?, value.as_bytes())));
                prop_assert_eq!(names.split(place, line.as_bytes()), split);
            }
        }
    }

    #[test]
    fn no_more_names_are_kept_than_are_bounded() {
        let mut names = FieldNames::default();
        for place in 0..100 {
            let line = format!("X-{place}: 1");
            let (name, value) = names.split(place, line.as_bytes()).expect("a field");
            assert_eq!((name.as_str(), value), (&*format!("x-{place}"), &b" 1"[..]));
        }
        assert_eq!(names.0.len(), MOST);
    }
}
