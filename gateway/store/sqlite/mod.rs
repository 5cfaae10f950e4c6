//! The embedded store: one SQLite file beside the gateway.

mod connections;
mod errors;

pub use connections::SqliteStore;
