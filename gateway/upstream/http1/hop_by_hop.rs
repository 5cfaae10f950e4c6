//! What belongs to one connection and ends with it (RFC 9110 7.6.1): the fields that frame and manage it, and those that a line
//! of `Connection` names.

use http::HeaderName;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};

use super::Malformed;

/// What an answer's fields say of its connection, taken from them as they are read: most answers say little, and what is not
/// among the headers need not be looked for and removed.
#[derive(Debug, Default)]
pub struct HopByHop {
    pub coding: Coding,
    /// `Connection: close`
    pub closes: bool,
    /// `Connection: keep-alive`
    pub keeps_alive: bool,
    /// What else `Connection` names.
    pub named: Vec<HeaderName>,
    upgrade: Option<Upgrade>,
}

/// The transfer coding of a message, read line by line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    #[default]
    None,
    Chunked,
    /// Another one, or several.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    WebSocket,
    Other,
}

impl HopByHop {
    /// Takes note of a field if it ends here. False: it goes on.
    pub fn take(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        match *name {
            TRANSFER_ENCODING => self.coding = self.coding.with(value),
            CONNECTION => self.take_connection(value),
            UPGRADE => {
                let is_websocket = self.upgrade.is_none() && value.eq_ignore_ascii_case(b"websocket");
                self.upgrade = Some(if is_websocket { Upgrade::WebSocket } else { Upgrade::Other });
            }
            _ => return is_hop_by_hop(name),
        }
        true
    }

    fn take_connection(&mut self, line: &[u8]) {
        for token in tokens(line) {
            self.closes |= token.eq_ignore_ascii_case(b"close");
            self.keeps_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.named.extend(names_header(token));
        }
    }

    /// `Upgrade` names the WebSocket protocol and nothing else.
    pub fn is_websocket(&self) -> bool {
        self.upgrade == Some(Upgrade::WebSocket)
    }
}

impl Coding {
    #[must_use]
    pub fn with(self, line: &[u8]) -> Self {
        match self {
            Self::None if line.eq_ignore_ascii_case(b"chunked") => Self::Chunked,
            _ => Self::Other,
        }
    }

    /// Of a request or an answer: one `Transfer-Encoding: chunked`, exactly, without a length beside it; or none.
    pub fn is_chunked(self, has_length: bool) -> Result<bool, Malformed> {
        match self {
            Self::None => Ok(false),
            Self::Chunked if has_length => Err(Malformed("Transfer-Encoding and Content-Length exclude each other")),
            Self::Chunked => Ok(true),
            Self::Other => Err(Malformed("Transfer-Encoding may only be `chunked`, once")),
        }
    }
}

pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade")
}

/// What a token of `Connection` removes. The frame and the addressee of a message are not a connection's to remove.
pub fn names_header(token: &[u8]) -> Option<HeaderName> {
    const COMMON: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    if COMMON.iter().any(|common| token.eq_ignore_ascii_case(common)) {
        return None;
    }
    HeaderName::from_bytes(token).ok().filter(|name| ![HOST, CONTENT_LENGTH].contains(name))
}

/// The parts of a line that lists some.
pub fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}
