//! The store in use, and every question it can be asked. What a question promises is said here; each kind keeps it its own way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{
    EventFilter, ForeignKeys, GatewayReport, ImportedKey, JournalPosition, KeyChanges, KeyFilter, KeyListing, KeyNetwork,
    KeyUsage, Link, ListedEvent, MigrationStatus, NewNetwork, NewSecret, Presence, Rotated, StoreError, UsageBreakdown,
    UsageFilter, UsageRow, UsageStep,
};
use crate::config::{self, StoreUrl};
use crate::model::audit_event::{Actor, Seal};
use crate::model::bcrypt_hash::BcryptHash;
use crate::model::ids::KeyId;
use crate::model::key_hash::KeyHash;
use crate::model::key_record::{FoundKey, KeyRecord};
use crate::model::lease::{Grant, LeaseId, LeaseReply, LeaseRequest, News};
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::UsageBatch;

/// Clones share the connections, which close when the last clone is gone.
#[derive(Clone, Debug)]
pub enum Store {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Store {
    /// Touches no file and no server yet.
    pub fn open(config: &config::Store) -> Self {
        match &config.url {
            StoreUrl::Sqlite(file) => Self::Sqlite(SqliteStore::new(file, config.pool_size, config.timeout)),
            StoreUrl::Postgres(url) => Self::Postgres(PostgresStore::new(url, config)),
        }
    }

    /// The same store: what is changed of keys through it is noted as done by `actor`.
    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Self {
        match self {
            Self::Sqlite(store) => Self::Sqlite(store.acting_as(actor)),
            Self::Postgres(store) => Self::Postgres(store.acting_as(&actor)),
        }
    }
}

macro_rules! questions {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Store {$(
            $(#[$doc])*
            pub async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                match self {
                    Self::Sqlite(store) => store.$name($($argument),*).await,
                    Self::Postgres(store) => store.$name($($argument),*).await,
                }
            }
        )*}
    };
}

// Keys
questions! {
    /// The key one of whose secrets has this hash, be it in use, ended or revoked: its standing says.
    ///
    /// # Errors
    /// [`StoreError::BadRecord`] when its row cannot be understood.
    find_key(hash: KeyHash) -> Option<FoundKey>;
    /// # Errors
    /// [`StoreError::BadRecord`] when its row cannot be understood.
    get_key(key_id: &KeyId) -> Option<KeyRecord>;
    list_keys(filter: &KeyFilter) -> KeyListing;
    /// Stores a key that was minted here.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when its id or its hash is there already.
    insert_key(hash: KeyHash, record: KeyRecord) -> ();
    /// As [`insert_key`](Self::insert_key), if with it all keys of its user that are good at its creation have no more than that
    /// per hour; those without a limit are not counted. False: they would, and nothing was stored.
    insert_key_within(hash: KeyHash, record: KeyRecord, most_per_hour: u64) -> bool;
    /// The record after the change; `None`: there is no such key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a revoked key, [`StoreError::Changed`] for one that is not as it was seen,
    /// [`StoreError::BadRecord`] when its row cannot be understood.
    update_key(key_id: &KeyId, changes: KeyChanges) -> Option<KeyRecord>;
    /// A secret that works beside the current one until then, if that one is still from before `secret_before`. False: it is not,
    /// or the key is revoked or gone, and nothing changed.
    offer_secret(key_id: &KeyId, hash: KeyHash, valid_until: Timestamp, secret_before: Timestamp) -> bool;
    /// A new current secret, be it one that was offered. The one before works for `grace` more; none: it ends now, and with it all
    /// earlier ones. `None`: there is no such key.
    ///
    /// # Errors
    /// As [`update_key`](Self::update_key).
    rotate_key(key_id: &KeyId, secret: NewSecret, grace: Duration, now: Timestamp) -> Option<Rotated>;
    /// Ends every secret of the key for good, also of one whose row cannot be understood. Again changes nothing.
    /// Returns whether there is such a key.
    revoke_key(key_id: &KeyId, now: Timestamp) -> bool;
    /// Until when the last of its secrets from before works.
    previous_valid_until(key_id: &KeyId) -> Option<Timestamp>;
    /// Whether a key had, or has, a secret of this hash, as far as events since then tell.
    was_a_secret(hash: KeyHash, since: Timestamp) -> bool;
    /// Clears `is_active` of the keys that have expired. Returns how many they were.
    deactivate_expired(now: Timestamp) -> usize;
}

// Keys brought from elsewhere
questions! {
    foreign_keys() -> ForeignKeys;
    /// What is there of each of these keys, in their order.
    presence_of(keys: Arc<[ImportedKey]>) -> Vec<Presence>;
    /// Stores keys, all or none, but for those of which anything is there already: they stay as they are. Returns how many were new.
    import_keys(keys: Arc<[ImportedKey]>) -> usize;
    /// What a key that begins in each of these ways may be, if it is used for the first time: those whose `key_prefix` is one of
    /// them, the longest first, and `most` of them at most.
    ///
    /// # Errors
    /// [`StoreError::BadRecord`] for one that cannot be verified.
    awaiting_first_use(beginnings: &[&str], most: usize) -> Vec<BcryptHash>;
    /// From now on the key is known by its SHA-256, unless somebody else was the first or the key was changed since.
    note_first_use(awaited: &BcryptHash, hash: KeyHash) -> ();
}

// Usage
questions! {
    /// Where this spool's journal stands; `None`: nothing of it was written yet.
    usage_position(spool_id: &str) -> Option<JournalPosition>;
    /// Writes the rows between two positions of a journal, if the store has it at the first or does not know it. Returns where
    /// the store has it now: at `upto`, by this call or by an earlier one whose answer was lost; or elsewhere, when nothing
    /// was written and the caller has to go on from there.
    write_usage(spool_id: &str, after: Option<JournalPosition>, upto: JournalPosition, rows: Arc<UsageBatch>) -> JournalPosition;
    /// Notes when keys were last used. A time earlier than the one noted changes nothing.
    touch_last_used(used: Vec<(KeyId, Timestamp)>) -> ();
    /// The keys with the most requests since then, the most active first.
    usage_top(since: Timestamp, limit: usize) -> Vec<KeyUsage>;
    /// What was requested in each step of time, whole seconds counted from the epoch. Steps without requests are left out.
    usage_series(filter: &UsageFilter, step: Duration) -> Vec<UsageStep>;
    /// Of each list but the status codes at most so many.
    usage_breakdown(filter: &UsageFilter, most: usize) -> UsageBreakdown;
    /// Notes where keys were used from. Returns those that no gateway has noted before, of keys of which another was noted.
    note_networks(used: Arc<[KeyNetwork]>) -> Vec<NewNetwork>;
    /// Hands the rows over page by page, by time. Ends early, in order, when nobody takes them any more.
    export_usage(filter: &UsageFilter, pages: mpsc::Sender<Vec<UsageRow>>) -> ();
    count_usage_before(before: Timestamp) -> u64;
    /// Makes what the rows of the days to come will need.
    make_room_for_usage(now: Timestamp) -> ();
    /// Deletes the oldest rows from before then, at most `max_rows` one by one. Returns how many went, which is more than that
    /// where many go in one stroke.
    delete_usage_before(before: Timestamp, max_rows: usize) -> usize;
}

// The hours' counts
questions! {
    /// Takes back what the request returns, then grants what the hour allows, unless a later question of the same key and spool
    /// was carried out before.
    lease(key_id: &KeyId, spool_id: &str, id: LeaseId, request: LeaseRequest) -> LeaseReply;
    /// Writes down what became of leases, and what was admitted without any; of each key once. Says of each whether its lease is
    /// wanted back.
    settle_leases(spool_id: &str, news: Vec<News>) -> Vec<bool>;
    /// What a gateway that was killed has to settle.
    leases_of(spool_id: &str) -> Vec<(KeyId, Grant)>;
    /// Requests admitted in the hour that contains `now`, as far as gateways have told.
    hour_usage(key_id: &KeyId, now: Timestamp) -> u64;
    /// Starts the current hour of a key anew: every lease is void, gateways are told, and it is noted as an event.
    reset_hour(key_id: &KeyId) -> ();
}

// What was changed of keys, and by whom
questions! {
    /// Puts events that are not in the chain yet at its end, some at once. Returns their seals: none, when all are there or somebody
    /// else is at it, who has to ask again until none is left.
    seal_events() -> Vec<Seal>;
    /// The newest first.
    list_events(filter: &EventFilter) -> Vec<ListedEvent>;
    /// The chain from behind that position on, at most so many links.
    chain_after(position: u64, most: usize) -> Vec<Link>;
    /// How many events are not in the chain: those that wait for it, and those that do not even that.
    unsealed_events() -> (u64, u64);
}

// Gateways
questions! {
    /// For a gateway that ends: nobody waits for it any more.
    forget_gateway(gateway_id: &str) -> ();
    /// Every gateway that reported within a day and did not say that it ended, by name.
    gateways() -> Vec<GatewayReport>;
    /// Asks every running gateway to confirm that it knows what was changed of this key until now. Returns the question's
    /// number, for [`confirmed_by`](Self::confirmed_by).
    ask_confirmation(key_id: &KeyId) -> i64;
    /// The gateways that have confirmed.
    confirmed_by(question: i64) -> Vec<String>;
}

// Tables
questions! {
    /// Whether this binary can work with the tables. SQLite's are made if they are not there, PostgreSQL's are somebody's to make.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when the tables are missing, from elsewhere or too new: waiting does not help.
    ensure_migrated() -> ();
    /// Applies what is missing. Returns the names of what was applied.
    ///
    /// # Errors
    /// As [`ensure_migrated`](Self::ensure_migrated). Migrations applied before the failing one stay.
    migrate_up() -> Vec<&'static str>;
    /// Takes back every migration, and with it every key and all usage. Returns the names of what was taken back.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when a newer version applied one that this version cannot take back.
    migrate_down() -> Vec<&'static str>;
    /// Every migration known to this version or to the database, in order.
    migration_status() -> MigrationStatus;
}
