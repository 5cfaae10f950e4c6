//! PostgreSQL's errors as an operator needs them: which database, what is wrong, what to do.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

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
    /// The question failed, the connection did not.
    pub fn leaves_the_connection_sound(&self) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Closed => false,
            Self::Postgres(error) => {
                error.as_db_error().is_some_and(|refusal| refusal.parsed_severity() == Some(Severity::Error))
            }
        }
    }

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
        SqlState::LOCK_NOT_AVAILABLE => unavailable(format!(
            "somebody else holds a lock in {address} that this needs, and nothing was changed; try again, or see in \
             pg_stat_activity who holds it"
        )),
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
            unavailable(format!("PostgreSQL at {address} takes no questions now: {says}"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key_hash::KeyHash;
    use crate::store::Store;
    use crate::store::testing::postgres_server::{Database, SHARED};
    use crate::store::testing::{hash, ports, postgres_store, record};

    async fn look_up(store: &Store) -> Result<(), StoreError> {
        store.find_key(KeyHash::of(b"any")).await.map(drop)
    }

    /// That the store cannot be asked now, and that all of `words` are said of it, and no password is.
    fn says(answer: Result<(), StoreError>, words: &[&str]) {
        let Err(StoreError::Unavailable(says)) = answer else { panic!("{answer:?}") };
        assert!(words.iter().all(|word| says.contains(word)) && !says.contains("hunter2"), "{says}");
    }

    async fn migrated() -> (Database<'static>, Store) {
        let database = SHARED.database();
        let store = postgres_store(&database.url());
        store.migrate_up().await.unwrap();
        (database, store)
    }

    fn url(user: &str, database: &str, options: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}{options}", SHARED.port())
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_by_its_host_and_port() {
        let nobody = ports::reserve();
        let answer = look_up(&postgres_store(&format!("postgres://ann:hunter2@{nobody}/keys"))).await;
        says(answer, &["cannot connect", &nobody.to_string(), "keys", "refused", "check"]);
        let answer = look_up(&postgres_store("postgres://ann:hunter2@nowhere.invalid/keys")).await;
        says(answer, &["cannot connect", "nowhere.invalid:5432"]);
    }

    #[tokio::test]
    async fn who_is_not_let_in_is_told_which_part_is_wrong() {
        SHARED.psql("postgres", "CREATE ROLE stranger LOGIN PASSWORD 'secret'; CREATE ROLE crowd LOGIN CONNECTION LIMIT 0");
        let ask = async |user: &str, database: &str| look_up(&postgres_store(&url(user, database, ""))).await;
        says(ask("stranger:hunter2", "postgres").await, &["password", "`stranger`", "store.url"]);
        says(ask("stranger", "postgres").await, &["password", "store.url"]);
        says(ask("nobody", "postgres").await, &["`nobody`", "does not exist", "store.url"]);
        says(ask("postgres", "absent").await, &["\"absent\" does not exist", "create it"]);
        says(ask("crowd", "postgres").await, &["too many connections", "max_connections", "pool_size"]);
    }

    #[tokio::test]
    async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
        let answer = look_up(&postgres_store(&url("postgres", "postgres", "?sslmode=require"))).await;
        says(answer, &["TLS", "does not support TLS", "sslmode"]);
    }

    #[tokio::test]
    async fn tables_that_are_missing_are_told_with_the_command_that_makes_them() {
        let database = SHARED.database();
        let answer = look_up(&postgres_store(&database.url())).await;
        assert!(matches!(&answer, Err(StoreError::Schema(says)) if says.contains("api_keys") && says.contains("migrate up")));
    }

    #[tokio::test]
    async fn a_user_without_permission_and_a_database_that_is_read_only_are_told_so() {
        let (database, _) = migrated().await;
        SHARED.psql("postgres", "CREATE ROLE guest LOGIN");
        says(look_up(&postgres_store(&url("guest", database.name(), ""))).await, &["`guest`", "no permission", "api_keys"]);

        database.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name()));
        let store = postgres_store(&database.url());
        look_up(&store).await.unwrap();
        says(store.insert_key(hash("k"), record("k")).await, &["read-only", "primary"]);
    }

    #[tokio::test]
    async fn a_connection_that_the_server_ends_is_not_used_again() {
        let (database, store) = migrated().await;
        look_up(&store).await.unwrap();
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hokusai-gateway' AND datname = current_database()");
        // The word of its end may come before the question or after.
        if let Err(error) = look_up(&store).await {
            says(Err(error), &["PostgreSQL at"]);
        }
        look_up(&store).await.unwrap();
    }
}
