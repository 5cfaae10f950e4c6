//! A key as its owner holds it: `{prefix}_{live|test|dev}_` and 40 characters, the last six a checksum of all before.
//!
//! What must stay true here: a key has no way out but [`ApiKey::expose`], is wiped when dropped, and a form that is
//! refused by [`Form::of`] costs no look-up.

use std::convert::Infallible;
use std::fmt;

use zeroize::Zeroizing;

use super::key_hash::KeyHash;
use super::seed::Seed;

/// Digits of base 62, the least first.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random characters of a key: 34 of base 62 are 202 bits.
const RANDOM_CHARS: usize = 34;
/// Characters of checksum: six of base 62 hold any CRC-32.
const CHECKSUM_CHARS: usize = 6;
/// Random characters shown in `key_prefix`.
const SHOWN_CHARS: usize = 3;
/// The shortest key brought from elsewhere, in bytes.
pub const SHORTEST_KEY: usize = 16;
/// Lengths a key brought from elsewhere may have, in bytes.
const FOREIGN_LENGTH: std::ops::RangeInclusive<usize> = SHORTEST_KEY..=512;
/// How much is shown of a key that is not built like ours.
const SHOWN_OF_FOREIGN: usize = 4;

/// What the key is for; part of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    Production,
    Test,
    Development,
}

impl Environment {
    pub const ALL: [Self; 3] = [Self::Production, Self::Test, Self::Development];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
            Self::Development => "development",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|environment| environment.as_str() == text)
    }

    /// How the environment stands in a key.
    const fn tag(self) -> &'static str {
        match self {
            Self::Production => "live",
            Self::Test => "test",
            Self::Development => "dev",
        }
    }
}

/// A whole key. Never printed: `Debug` shows its shown prefix at most.
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn mint(prefix: &str, environment: Environment) -> Result<Self, getrandom::Error> {
        Self::made(prefix, environment, getrandom::fill)
    }

    /// The same key for the same seed, as good as that.
    pub fn derive(prefix: &str, environment: Environment, seed: &Seed) -> Self {
        let mut bytes = seed.bytes();
        let fill = |pool: &mut [u8]| {
            bytes.fill(pool);
            Ok::<_, Infallible>(())
        };
        let Ok(key) = Self::made(prefix, environment, fill);
        key
    }

    fn made<E>(prefix: &str, environment: Environment, fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 6 + RANDOM_CHARS + CHECKSUM_CHARS));
        text.push_str(prefix);
        text.push('_');
        text.push_str(environment.tag());
        text.push('_');
        push_random(&mut text, fill)?;
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.iter().map(|&digit| char::from(digit)));
        Ok(Self(text))
    }

    /// The one way out: to show it to its owner once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }

    /// The part that may be shown: up to the first three random characters.
    pub fn shown_prefix(&self) -> &str {
        shown_of_ours(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}…)", self.shown_prefix())
    }
}

/// What can be said of a presented credential without asking anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Our form with a right checksum.
    Ours,
    /// Not ours or wrongly typed, but of the length and characters a key from elsewhere may have.
    Foreign,
    /// No key of any kind.
    Malformed,
}

impl Form {
    /// `prefix` is the configured `keys.prefix`.
    pub fn of(credential: &[u8], prefix: &str) -> Self {
        if looks_like_ours(credential, prefix) {
            let (body, check) = credential.split_at(credential.len() - CHECKSUM_CHARS);
            if checksum(body) == check {
                return Self::Ours;
            }
        }
        if FOREIGN_LENGTH.contains(&credential.len()) && credential.iter().all(u8::is_ascii_graphic) {
            return Self::Foreign;
        }
        Self::Malformed
    }
}

/// Whether the text is built like a key of ours, its checksum aside: what is cut out of requests even where no key is asked for.
pub fn looks_like_ours(credential: &[u8], prefix: &str) -> bool {
    let Some(rest) = credential.strip_prefix(prefix.as_bytes()) else { return false };
    let Some(rest) = rest.strip_prefix(b"_") else { return false };
    Environment::ALL
        .iter()
        .filter_map(|environment| rest.strip_prefix(environment.tag().as_bytes())?.strip_prefix(b"_"))
        .any(is_secret)
}

/// Looks at all characters whatever they are, which the compiler makes a few vector instructions of.
fn is_secret(text: &[u8]) -> bool {
    let secret = <&[u8; RANDOM_CHARS + CHECKSUM_CHARS]>::try_from(text);
    secret.is_ok_and(|secret| secret.iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric()))
}

/// The part that may be shown of a key brought from elsewhere, which is no [`Form::Malformed`].
pub fn shown_prefix<'a>(key: &'a str, prefix: &str) -> &'a str {
    match looks_like_ours(key.as_bytes(), prefix) {
        true => shown_of_ours(key),
        false => &key[..SHOWN_OF_FOREIGN],
    }
}

fn shown_of_ours(key: &str) -> &str {
    &key[..key.len() - CHECKSUM_CHARS - RANDOM_CHARS + SHOWN_CHARS]
}

/// CRC-32 (IEEE) in base 62, most significant digit first, padded with `0`.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(body);
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Appends random characters, each of the 62 equally likely: bytes from 248 up would favour the first ones and are drawn again.
fn push_random<E>(text: &mut String, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
    let mut wanted = RANDOM_CHARS;
    let mut pool = Zeroizing::new([0_u8; 64]);
    while wanted > 0 {
        fill(pool.as_mut())?;
        for &byte in pool.iter().filter(|&&byte| byte < 248).take(wanted) {
            text.push(char::from(ALPHABET[usize::from(byte) % 62]));
            wanted -= 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minted_key_has_the_published_form() {
        for environment in Environment::ALL {
            let key = ApiKey::mint("hk", environment).expect("the system has randomness");
            let start = format!("hk_{}_", environment.tag());
            assert!(key.expose().starts_with(&start));
            assert_eq!(key.expose().len(), start.len() + 40);
            assert_eq!(key.shown_prefix(), &key.expose()[..start.len() + 3]);
            assert_eq!(Form::of(key.expose().as_bytes(), "hk"), Form::Ours);
        }
    }

    #[test]
    fn a_derived_key_is_the_same_for_the_same_seed_and_another_for_any_other() {
        let derived = |seed: &Seed| ApiKey::derive("hk", Environment::Test, seed);
        let key = derived(&Seed::of(b"secret", &[b"a", b"b"]));
        assert_eq!(Form::of(key.expose().as_bytes(), "hk"), Form::Ours);
        assert_eq!(derived(&Seed::of(b"secret", &[b"a", b"b"])).expose(), key.expose());
        for other in [Seed::of(b"Secret", &[b"a", b"b"]), Seed::of(b"secret", &[b"ab", b""]), Seed::of(b"secret", &[b"a"])] {
            assert_ne!(derived(&other).expose(), key.expose());
        }
    }

    #[test]
    fn debug_shows_no_more_than_the_prefix() {
        let key = ApiKey::mint("hk", Environment::Test).expect("the system has randomness");
        assert!(!format!("{key:?}").contains(&key.expose()[13..]));
    }

    /// Computed apart from this code (Python's `zlib.crc32`), so that other programs can check our keys.
    #[test]
    fn the_checksum_is_crc_32_in_base_62() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
    }

    proptest! {
        #[test]
        fn one_changed_character_is_noticed(at in 8_usize..48, to in 0_usize..62) {
            let key = ApiKey::mint("hk", Environment::Production).expect("the system has randomness");
            let mut text = key.expose().as_bytes().to_vec();
            prop_assume!(text[at] != ALPHABET[to]);
            text[at] = ALPHABET[to];
            prop_assert_eq!(Form::of(&text, "hk"), Form::Foreign);
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let form = Form::of(&bytes, "hk");
            if bytes.len() < 16 || bytes.len() > 512 || !bytes.iter().all(u8::is_ascii_graphic) {
                prop_assert_eq!(form, Form::Malformed);
            }
        }
    }
}
