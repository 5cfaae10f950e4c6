//! Maps whose keys are hashes already.

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::model::key_hash::KeyHash;

pub type HashCache<V> = Cache<KeyHash, V, UnitWeighter, HashIsHashed>;

/// Of so many entries at most.
pub fn cache<V: Clone>(capacity: usize) -> HashCache<V> {
    Cache::with(capacity, capacity as u64, UnitWeighter, HashIsHashed, DefaultLifecycle::default())
}

/// A SHA-256 is as well mixed as any hash of it: its first eight bytes serve.
#[derive(Clone, Copy, Default)]
pub struct HashIsHashed;

impl std::hash::BuildHasher for HashIsHashed {
    type Hasher = FirstBytes;

    fn build_hasher(&self) -> FirstBytes {
        FirstBytes(0)
    }
}

pub struct FirstBytes(u64);

impl std::hash::Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    /// The length that slices are hashed with says nothing here.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_of_all_keys_leaves_no_more_than_the_capacity() {
        let held = cache(1_000);
        for number in 0..20_000_u32 {
            held.insert(KeyHash::of(&number.to_ne_bytes()), number);
        }
        assert!((500..=1_000).contains(&held.len()), "{}", held.len());
    }
}
