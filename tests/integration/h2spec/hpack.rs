//! Heads that cannot be decoded (RFC 7541).

use super::case::Expected::ConnectionError;
use super::case::{Case, case, get_block, whole};
use crate::support::raw_http2::{COMPRESSION_ERROR, integer};

/// The size of a table that nobody has changed (RFC 9113 6.5.2).
const TABLE_SIZE: usize = 4096;
const RESIZE: u8 = 0x20;

/// `x-test`, coded, as a new name of a field that is not indexed.
const X_TEST: &[u8] = b"\0\x85\xf2\xb2\x4a\x84\xff";

pub fn cases() -> Vec<Case> {
    let bad = |name, block: [&[u8]; 3]| case(name, whole(block.concat()), ConnectionError(COMPRESSION_ERROR));
    let get = get_block();
    let mut beyond = integer(TABLE_SIZE + 1, 5);
    beyond[0] |= RESIZE;
    vec![
        bad("hpack/2.3.3/1 a field of an index beyond the tables", [&get, b"\xc6", b""]),
        bad("hpack/2.3.3/2 a name of an index beyond the tables", [&get, b"\x7f\x07\0", b""]),
        bad("hpack/4.2/1 a new table size at the end", [&get, b"\x21", b""]),
        bad("hpack/5.2/1 a padding of more than 7 bits", [&get, X_TEST, b"\x84\x49\x50\x9f\xff"]),
        bad("hpack/5.2/2 a padding of zeros", [&get, X_TEST, b"\x83\x49\x50\x90"]),
        bad("hpack/5.2/3 the end of a string within it", [&get, X_TEST, b"\x87\xff\xff\xff\xfd\x25\x42\x7f"]),
        bad("hpack/6.1/1 a field of index 0", [&get, b"\x80", b""]),
        bad("hpack/6.3/1 a table beyond what was told", [&beyond, &get, b""]),
    ]
}
