//! HTTP/1.1 towards upstreams: one exchange at a time on a connection, driven by the request's own task.
//!
//! What must stay true here: an answer has one reading, and what has none is refused; nothing is buffered whole but heads, which
//! are bounded; and a connection is free again only when both its request and its answer came to their ends.

mod connection;
pub mod decode;
mod download;
mod encode;
pub mod field_names;
pub mod framing;
mod hop_by_hop;
mod outgoing;
pub mod parse;
#[cfg(test)]
mod readings;

pub use connection::Connection;
pub use download::Download;
pub use encode::RequestHead;
pub use framing::digits;
pub use hop_by_hop::{Coding, HopByHop, is_hop_by_hop, names_header, tokens};
pub use outgoing::Outgoing;
pub use parse::Head;

/// An answer that is no HTTP, or could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);
