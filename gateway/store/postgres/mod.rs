//! The shared store: a PostgreSQL database that several gateways ask.

mod errors;
mod gateways;
mod key_changes;
mod keys;
mod leases;
mod migrate;
mod pool;
mod tls;
mod usage;

pub use pool::PostgresStore;
