//! A reverse proxy that checks API keys.
//!
//! # The path of a request
//!
//! [`listen`] accepts a connection and speaks HTTP on it; [`proxy::handle`] tells what happens to each request, in order:
//! a record is opened · framing and size are checked · the client's address is found ([`client_address`]) · a route is taken
//! ([`route`]) · the key is found, looked up and judged ([`auth`]) · scopes · a permit of the hour ([`limits`]) · reserved
//! headers go, forwarding and identity headers come · the request goes to its upstream ([`upstream`]) · the answer streams back ·
//! the record is closed, once, and feeds usage ([`usage`]), access log, metrics and the list of refusals ([`observe`]).
//!
//! # Threads
//!
//! Each worker is a thread with a runtime, sockets, upstream connections and counts of its own; a request never changes
//! threads ([`app`]). What waits for the store or the disk runs in the background.
//!
//! # Layers
//!
//! A module imports only from its own layer and from those above it in this list; `tests/layers.rs` holds it to that.

// 0 words: no I/O, nothing async
pub mod clock;
pub mod model;
pub mod units;
// 1 ground
pub mod certificates;
pub mod config;
pub mod drain;
pub mod observe;
pub mod redis;
pub mod spool;
// 2 custody
pub mod audit;
pub mod keyring;
pub mod reports;
pub mod store;
// 3 gates
pub mod alerts;
pub mod auth;
pub mod client_address;
pub mod limits;
pub mod reserved_headers;
pub mod route;
pub mod upstream;
pub mod usage;
// 4 the path and the doors
pub mod admin;
pub mod explain;
pub mod listen;
pub mod proxy;
// 5 the whole
pub mod app;
pub mod cli;
pub mod reload;
pub mod signals;
