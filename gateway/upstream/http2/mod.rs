//! HTTP/2 towards upstreams: many exchanges at once on a connection, each driven by its request's own task.
//!
//! What must stay true here: a request that breaks off is reset, never completed, and so is an answer that nobody waits for; a
//! server is never asked for more streams than it takes; and what a slow client does not take of its answer holds up no other
//! stream of the same connection.

mod connection;
mod download;
mod exchange;
mod request;
mod upload;

pub use connection::Connection;
pub use download::Download;
pub use exchange::Exchange;
