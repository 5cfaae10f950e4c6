//! Where keys, counts and usage are kept. The words here are the same for every kind of store.

pub mod sqlite;

/// The store in use.
pub type Store = sqlite::SqliteStore;

/// Why a question to the store has no answer. "Not found" is an answer, not an error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or opened, is locked, or its disk is full: ask again later.
    #[error("{0}")]
    Unavailable(String),
    /// No answer within `store.timeout`.
    #[error("the store did not answer within {0:?}")]
    Timeout(std::time::Duration),
    /// The tables are not those this binary works with. Waiting does not help.
    #[error("{0}")]
    Schema(String),
    /// A row that cannot be understood, as when somebody wrote a time or an address list by hand and mistyped it.
    #[error("api_keys row {key_id}: {says}")]
    BadRecord { key_id: String, says: String },
    /// The change would break a rule of the tables (the message names it).
    #[error("{0}")]
    Refused(String),
}
