//! What a key is derived from where the same request has to make the same key.
//!
//! What must stay true here: whoever does not know the secret cannot tell a seed from randomness (HMAC-SHA256, RFC 2104).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Wiped when dropped.
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// Another one for any other secret, and for any other list of parts.
    pub fn of(secret: &[u8], parts: &[&[u8]]) -> Self {
        let mut mac = keyed(secret);
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Self(Zeroizing::new(mac.finalize().into_bytes().into()))
    }

    /// As many bytes as are wanted.
    pub(super) fn bytes(&self) -> Bytes<'_> {
        Bytes { seed: self, block: 0 }
    }
}

pub(super) struct Bytes<'a> {
    seed: &'a Seed,
    block: u64,
}

impl Bytes<'_> {
    pub fn fill(&mut self, pool: &mut [u8]) {
        for chunk in pool.chunks_mut(32) {
            let mut mac = keyed(&*self.seed.0);
            mac.update(&self.block.to_be_bytes());
            let block: Zeroizing<[u8; 32]> = Zeroizing::new(mac.finalize().into_bytes().into());
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.block += 1;
        }
    }
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("a key of any length")
}
