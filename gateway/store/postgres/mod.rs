//! The shared store: a PostgreSQL database that several gateways ask.

mod errors;
mod events;
mod feed;
mod gateways;
mod imports;
mod key_changes;
mod keys;
mod leases;
mod migrate;
mod networks;
mod partitions;
mod pool;
mod record;
mod servers;
mod tls;
mod usage;
mod usage_reports;
mod values;

pub use feed::PostgresFeed;
pub use pool::PostgresStore;
