//! An authentication gateway.

// 0 words
pub mod clock;
pub mod model;
pub mod units;
// 1 ground
pub mod config;
pub mod drain;
pub mod observe;
pub mod spool;
// 2 custody
pub mod keyring;
pub mod store;
// 3 gates
pub mod auth;
pub mod client_address;
pub mod limits;
pub mod reserved_headers;
pub mod route;
pub mod upstream;
pub mod usage;
// 4 the path and the doors
pub mod admin;
pub mod listen;
pub mod proxy;
// 5 the whole
pub mod app;
pub mod cli;
pub mod signals;
