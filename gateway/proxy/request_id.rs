//! By what a request is named in the log, in its usage row, to its app and to its client.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::request_headers::X_REQUEST_ID;

/// The client's own where it is sane, else 128 random bits.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane = |id: &&HeaderValue| {
        (1..=128).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
    };
    match headers.get(X_REQUEST_ID).filter(is_sane) {
        Some(id) => id.clone(),
        None => made_up_id(),
    }
}

/// The two hex digits of each byte.
static HEX: [[u8; 2]; 256] = {
    let (digits, mut table, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        table[byte] = [digits[byte / 16], digits[byte % 16]];
        byte += 1;
    }
    table
};

/// 32 hex digits.
fn made_up_id() -> HeaderValue {
    let mut digits = [0; 32];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(fastrand::u128(..).to_ne_bytes()) {
        *pair = HEX[usize::from(byte)];
    }
    HeaderValue::from_maybe_shared(Bytes::from_owner(digits)).expect("hex digits are a value")
}
