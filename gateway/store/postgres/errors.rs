//! PostgreSQL's errors as an operator needs them: which database, what is wrong, what to do.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

use crate::config::PostgresUrl;
use crate::store::StoreError;

/// Why a question has no answer: the database's word, or ours.
#[derive(Debug)]
pub(super) enum Failure {
    Postgres(tokio_postgres::Error),
    /// The server closed the connection in order.
    Closed,
    Ours(StoreError),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Ours(error)
    }
}

impl Failure {
    /// `limit` is what the question had.
    pub fn in_words(self, url: &PostgresUrl, limit: Duration) -> StoreError {
        match self {
            Self::Ours(error) => error,
            Self::Closed => closed(url),
            Self::Postgres(error) => match error.as_db_error() {
                Some(refusal) => refused(refusal, url, limit),
                None => failed(&error, url),
            },
        }
    }
}

/// The server answered, but not what was asked for.
fn refused(error: &DbError, url: &PostgresUrl, limit: Duration) -> StoreError {
    let address = url.address();
    let user = url.user();
    let says = error.message();
    let unavailable = |text: String| StoreError::Unavailable(text);
    match *error.code() {
        SqlState::QUERY_CANCELED => StoreError::Timeout(limit),
        SqlState::INVALID_PASSWORD => {
            unavailable(format!("PostgreSQL at {address} refuses the password of user `{user}`; check the one in store.url"))
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => unavailable(format!(
            "PostgreSQL at {address} does not let user `{user}` in: {says}; check the user in store.url, its sslmode and the \
             server's pg_hba.conf"
        )),
        SqlState::INVALID_CATALOG_NAME => {
            unavailable(format!("PostgreSQL at {address} says: {says}; create it, or check store.url"))
        }
        SqlState::TOO_MANY_CONNECTIONS => unavailable(format!(
            "PostgreSQL at {address} has no connection left: {says}; raise its max_connections, lower store.pool_size, or put a \
             PgBouncer before it"
        )),
        SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
            unavailable(format!("PostgreSQL at {address} is starting or shutting down: {says}"))
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => unavailable(format!(
            "PostgreSQL at {address} is read-only, perhaps a replica; name the primary in store.url, or add \
             `?target_session_attrs=read-write` to several hosts"
        )),
        SqlState::INSUFFICIENT_PRIVILEGE => unavailable(format!(
            "user `{user}` has no permission for this in {address}: {says}; let the owner of the tables grant it"
        )),
        SqlState::DISK_FULL => unavailable(format!("no space is left on the disk of PostgreSQL at {address}; free some")),
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_FUNCTION => {
            StoreError::Schema(format!("the tables in {address} are not those of this version ({says}); run `migrate up`"))
        }
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => unavailable(format!(
            "what stands before PostgreSQL at {address} mixes connections up: {says}; a PgBouncer in transaction mode needs \
             version 1.21 and max_prepared_statements above 0"
        )),
        // Integrity constraints: unique, check, not null.
        ref code if code.code().starts_with("23") => StoreError::Refused(format!("the tables do not allow it: {says}")),
        ref code => unavailable(format!("PostgreSQL at {address} could not answer: {says} (SQLSTATE {})", code.code())),
    }
}

/// There was no answer that could be read. The library tells its kinds of error apart by their text alone.
fn failed(error: &tokio_postgres::Error, url: &PostgresUrl) -> StoreError {
    let address = url.address();
    let text = error.to_string();
    let cause = error.source().map_or_else(|| text.clone(), ToString::to_string);
    StoreError::Unavailable(match text.as_str() {
        "error connecting to server" => {
            format!("cannot connect to PostgreSQL at {address}: {cause}; check that it runs and that host and port are right")
        }
        "error performing TLS handshake" => format!(
            "PostgreSQL at {address} and the gateway cannot agree on TLS: {cause}; check sslmode and sslrootcert in store.url, and \
             the server's certificate"
        ),
        "invalid configuration" | "authentication error" => {
            format!("PostgreSQL at {address} wants what store.url does not give: {cause}")
        }
        "connection closed" | "error communicating with the server" => return closed(url),
        _ => format!("PostgreSQL at {address} cannot be asked: {text}: {cause}"),
    })
}

fn closed(url: &PostgresUrl) -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL at {} closed the connection", url.address()))
}
