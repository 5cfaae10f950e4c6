//! What the tests of every kind of store share.

#[path = "../../tests/support/postgres/mod.rs"]
pub(crate) mod postgres_server;
#[path = "../../tests/support/tcp_proxy.rs"]
pub(crate) mod tcp_proxy;

use std::path::Path;

use postgres_server::{Database, SHARED};

use super::Store;
pub(crate) use super::sqlite::testing::{Folder, NOW, add_key, hash, record, secret};
use crate::config::{self, Config};
pub(crate) use crate::redis::ports;

/// Where the store of one test is, and the operator's own way into it.
pub(crate) enum Place {
    Sqlite(Folder),
    Postgres(Database<'static>),
}

impl Place {
    /// With its tables.
    pub async fn sqlite() -> (Self, Store) {
        let (folder, store) = Folder::migrated().await;
        (Self::Sqlite(folder), store)
    }

    /// With its tables.
    pub async fn postgres() -> (Self, Store) {
        let database = SHARED.database();
        let store = postgres_store(&database.url());
        store.migrate_up().await.unwrap();
        (Self::Postgres(database), store)
    }

    /// Another gateway's way to the same place.
    pub fn store(&self) -> Store {
        match self {
            Self::Sqlite(folder) => folder.store(),
            Self::Postgres(database) => postgres_store(&database.url()),
        }
    }

    /// Says that this key's hour was reset.
    pub fn notify_limit(&self, key_id: &str) {
        self.sql(&match self {
            Self::Sqlite(_) => format!("INSERT INTO api_key_changes (kind, key_id) VALUES ('limit', '{key_id}')"),
            Self::Postgres(_) => format!("SELECT pg_notify('hokusai_gateway', 'limit {key_id}')"),
        });
    }

    /// What a question for one number is answered.
    pub fn number(&self, question: &str) -> i64 {
        match self {
            Self::Sqlite(folder) => folder.shell().query_row(question, [], |row| row.get(0)).unwrap(),
            Self::Postgres(database) => database.sql(question).parse().unwrap(),
        }
    }

    /// What the database says to a statement that it does not carry out.
    pub fn refuses(&self, statement: &str) -> String {
        match self {
            Self::Sqlite(folder) => folder.shell().execute_batch(statement).unwrap_err().to_string(),
            Self::Postgres(database) => database.refuses(statement),
        }
    }

    /// As the owner of the tables who stops at nothing.
    pub fn tamper(&self, statements: &str) {
        match self {
            Self::Sqlite(folder) => {
                let shell = folder.shell();
                let triggers = "SELECT group_concat('DROP TRIGGER ' || name, ';') FROM sqlite_schema \
                                WHERE type = 'trigger' AND name LIKE 'api_key_event%_are_%'";
                let drop: Option<String> = shell.query_row(triggers, [], |row| row.get(0)).unwrap();
                shell.execute_batch(&format!("{};{statements}", drop.unwrap_or_default())).unwrap();
            }
            Self::Postgres(database) => drop(database.sql(&format!("SET session_replication_role = replica; {statements}"))),
        }
    }

    /// As somebody types it into the shell of the database.
    pub fn sql(&self, statements: &str) {
        match self {
            Self::Sqlite(folder) => folder.shell().execute_batch(statements).unwrap(),
            Self::Postgres(database) => drop(database.sql(statements)),
        }
    }
}

pub(crate) fn postgres_store(url: &str) -> Store {
    Store::open(&config(&format!("url = \"{url}\"\ntimeout = \"20s\"\npool_size = 4")).store)
}

/// `store` is what stands under `[store]`.
pub(crate) fn config(store: &str) -> Config {
    let text = format!("[store]\n{store}\n[[routes]]\npath = \"/\"\nauth = \"none\"\nrespond = {{}}\n");
    config::parse(&text, Path::new(""), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Each guarantee, an `async fn(Place, Store)`, becomes a test for each kind of store.
macro_rules! hold_on_every_store {
    ($($guarantee:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $guarantee() {
                let (place, store) = crate::store::testing::Place::sqlite().await;
                super::$guarantee(place, store).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $guarantee() {
                let (place, store) = crate::store::testing::Place::postgres().await;
                super::$guarantee(place, store).await;
            })*
        }
    };
}
pub(crate) use hold_on_every_store;
