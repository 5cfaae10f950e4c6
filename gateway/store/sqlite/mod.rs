//! The embedded store: one SQLite file beside the gateway.

mod connections;
mod errors;
pub(crate) mod leases;

pub use connections::SqliteStore;
