//! What every kind of store guarantees, proved on each.

mod changes;
mod events;
mod gateways;
mod imports;
mod key_changes;
mod keys;
mod leases;
mod networks;
pub(super) mod usage;
mod usage_reports;
