//! The embedded store: one SQLite file beside the gateway.

mod changes;
mod connections;
mod errors;
mod events;
mod feed;
mod gateways;
mod imports;
mod key_changes;
mod keys;
pub(crate) mod leases;
mod migrate;
mod networks;
mod record;
#[cfg(test)]
pub(crate) mod testing;
mod usage;
mod usage_reports;

pub use connections::SqliteStore;
pub use feed::SqliteFeed;
