//! The embedded store: one SQLite file beside the gateway.

mod connections;
mod errors;
mod gateways;

pub use connections::SqliteStore;
pub use gateways::GatewayReport;
