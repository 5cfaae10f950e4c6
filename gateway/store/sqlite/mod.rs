//! The embedded store.
pub struct SqliteStore;
