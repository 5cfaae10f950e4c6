//! A bcrypt hash of a key, as earlier tables hold it.
//!
//! What must stay true here: it is shown only as far as its cost. To compare a key with it takes a tenth of a second and more: never
//! on a thread that serves requests.

use std::fmt;
use std::ops::RangeInclusive;

use bcrypt::HashParts;

/// bcrypt looks at no more of a key, in bytes: a longer one cannot be told from others that begin like it.
pub const LONGEST_KEY: usize = 72;
/// Each step doubles the work. With the last, one comparison takes about a second.
pub const COSTS: RangeInclusive<u32> = 4..=14;

/// Lengths of the `key_prefix` by which the hash of a presented key is found, in bytes. Shorter ones would fit too many keys.
pub const BEGINNINGS: RangeInclusive<usize> = 4..=24;
/// So many keys at most may begin alike: more hashes than that are not tried of one that is presented.
pub const TRIED: usize = 16;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BcryptHash(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABcryptHash {
    #[error("is no bcrypt hash, which has 60 characters and begins with $2a$, $2b$ or $2y$")]
    Form,
    #[error("is a bcrypt hash of cost {0}; only {min} to {max} can be verified in time", min = COSTS.start(), max = COSTS.end())]
    Cost(u32),
}

impl BcryptHash {
    /// Whether the text is meant as one, be it good or not: it begins with `$`, as no SHA-256 in hex does.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with('$')
    }

    pub fn parse(text: &str) -> Result<Self, NotABcryptHash> {
        // $2x$ stands for a mistake that one program once made, and which is not repeated here.
        let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
        let parts: HashParts = text.parse().ok().filter(|_| known).ok_or(NotABcryptHash::Form)?;
        match COSTS.contains(&parts.get_cost()) {
            true => Ok(Self(text.to_owned())),
            false => Err(NotABcryptHash::Cost(parts.get_cost())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is of this key. A key longer than [`LONGEST_KEY`] never matches. Blocks for up to a second.
    pub fn is_of(&self, key: &[u8]) -> bool {
        key.len() <= LONGEST_KEY && bcrypt::verify(key, &self.0).is_ok_and(|is_same| is_same)
    }
}

impl fmt::Debug for BcryptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BcryptHash({}…)", &self.0[..7])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `U*U`, by the authors of bcrypt.
    const KNOWN: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    fn of(key: &str) -> BcryptHash {
        BcryptHash::parse(&bcrypt::hash(key, 4).unwrap()).unwrap()
    }

    #[test]
    fn a_hash_is_of_its_key_alone_whichever_program_made_it() {
        for version in ["$2a$", "$2b$", "$2y$"] {
            let hash = BcryptHash::parse(&KNOWN.replace("$2a$", version)).unwrap();
            assert!(hash.is_of(b"U*U") && !hash.is_of(b"U*V") && !hash.is_of(b""), "{version}");
        }
    }

    /// bcrypt itself would take them: it never sees what differs.
    #[test]
    fn a_key_that_bcrypt_does_not_see_the_end_of_matches_nothing() {
        let longest = "k".repeat(LONGEST_KEY);
        let hash = of(&longest);
        assert!(hash.is_of(longest.as_bytes()));
        assert!(!hash.is_of(format!("{longest}x").as_bytes()));
        assert!(bcrypt::verify(format!("{longest}x"), hash.as_str()).unwrap());
    }

    #[test]
    fn what_is_no_hash_or_takes_too_long_is_refused() {
        let wrong = ["", "$2b$", &KNOWN[1..], &KNOWN[..59], &KNOWN.replace("$2a$", "$2x$"), &KNOWN.replace("$05$", "$0x$")];
        for text in wrong {
            assert_eq!(BcryptHash::parse(text), Err(NotABcryptHash::Form), "{text}");
        }
        for cost in [3, 15, 31] {
            let text = KNOWN.replace("$05$", &format!("${cost:02}$"));
            assert_eq!(BcryptHash::parse(&text), Err(NotABcryptHash::Cost(cost)));
        }
    }

    #[test]
    fn it_is_not_printed() {
        assert_eq!(format!("{:?}", BcryptHash::parse(KNOWN).unwrap()), "BcryptHash($2a$05$…)");
    }
}
