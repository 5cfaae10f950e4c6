//! What changes in the store, by whomever, as one gateway follows it.

use std::time::Instant;

use super::postgres::PostgresFeed;
use super::sqlite::SqliteFeed;
use super::{Store, StoreError};
use crate::model::bcrypt_hash::BcryptHash;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What a look-up of this secret answers.
    Secret(KeyHash),
    /// A key whose secret is known by its bcrypt hash alone: any secret that was unknown may be this one.
    AnyUnknown,
    /// What a look-up of any secret of this key answers. Somebody waits to hear that the gateway knows.
    Key(KeyId),
    /// This key's hour was reset.
    Limit(KeyId),
    /// Perhaps anything: too much at once, or it could not be followed.
    Anything,
}

impl Change {
    /// Of a row by what is written in its `key_hash`. `None` for what is no hash, of a row written by hand: no key has it, so nobody
    /// holds what changed.
    pub(super) fn of_hash(key_hash: &str) -> Option<Self> {
        match BcryptHash::is_meant_by(key_hash) {
            true => Some(Self::AnyUnknown),
            false => KeyHash::from_hex(key_hash).map(Self::Secret),
        }
    }
}

#[derive(Debug)]
pub struct News {
    /// All that was changed until then is among these changes and those told before.
    pub contact: Instant,
    /// In the order they were made; mostly none.
    pub changes: Vec<Change>,
}

/// One gateway's view of the changes. Begins with [`Change::Anything`], as does every new beginning after a failure.
#[derive(Debug)]
pub enum ChangeFeed {
    Sqlite(SqliteFeed),
    Postgres(Box<PostgresFeed>),
}

impl ChangeFeed {
    /// Asks nothing yet. Others know the gateway by its id.
    pub fn new(store: &Store, gateway_id: &str) -> Self {
        match store {
            Store::Sqlite(store) => Self::Sqlite(SqliteFeed::new(store.clone(), gateway_id)),
            Store::Postgres(store) => Self::Postgres(Box::new(PostgresFeed::new(store.clone(), gateway_id))),
        }
    }

    /// Waits for news, or for word that there is none. To be called again and again, after a failure too: it takes its time then.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn next(&mut self) -> Result<News, StoreError> {
        match self {
            Self::Sqlite(feed) => feed.next().await,
            Self::Postgres(feed) => feed.next().await,
        }
    }

    /// The changes told last are known everywhere in this gateway: whoever waits for that may hear it.
    ///
    /// # Errors
    /// The store could not be told. Nothing is lost by that but the patience of who waits.
    pub async fn applied(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(feed) => feed.applied().await,
            Self::Postgres(feed) => feed.applied().await,
        }
    }
}
