//! By what a request is named in the log, in its usage row, to its app and to its client.

use http::{HeaderMap, HeaderValue};

use super::request_headers::X_REQUEST_ID;

/// Visible ASCII, 128 bytes at most.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// 128 random bits, as hex digits.
    MadeUp([u8; 32]),
    /// The client's own.
    Given(HeaderValue),
}

impl RequestId {
    /// The client's own where it is sane, else one made up.
    pub fn of(headers: &HeaderMap) -> Self {
        let is_sane = |id: &&HeaderValue| {
            (1..=128).contains(&id.len())
                && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
        };
        match headers.get(X_REQUEST_ID).filter(is_sane) {
            Some(id) => Self::Given(id.clone()),
            None => Self::MadeUp(hex_digits()),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::MadeUp(digits) => digits,
            Self::Given(id) => id.as_bytes(),
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("it is ASCII")
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

fn hex_digits() -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(fastrand::u128(..).to_ne_bytes()) {
        *pair = HEX[usize::from(byte)];
    }
    digits
}
