//! What every kind of store holds to.

mod leases;
pub(super) mod usage;
