//! The PROXY protocol. The bytes: as a proxy would send them.

use hokusai_gateway::listen::proxy_protocol::header::{LONGEST, parse};

use super::cuts;

/// Once it is known what the beginning is, nothing that follows changes it: however the bytes are cut into packets.
pub fn holds(bytes: &[u8]) {
    let whole = parse(bytes);
    for cut in cuts(bytes.len()) {
        let part = parse(&bytes[..cut]);
        assert!(part == Ok(None) || part == whole, "{part:?} of {cut} bytes, {whole:?} of all");
    }
    match whole {
        Ok(Some(header)) => {
            assert_eq!(parse(&bytes[..header.length]), whole);
            assert!(header.length > 0 && parse(&bytes[..header.length - 1]) == Ok(None), "not one byte more than it needs");
        }
        Ok(None) => assert!(bytes.len() < LONGEST, "it is waited for in vain"),
        Err(_) => {}
    }
}
