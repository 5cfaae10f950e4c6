//! Where a command does its work: on the store itself, or through the admin API of a gateway elsewhere. What it answers is the same.
//!
//! What must stay true here: a command that can do its work both ways knows of neither.

mod api;
mod client;
mod store;
mod wire;

use std::time::Duration;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

pub use api::ApiBackend;
pub use store::StoreBackend;

use super::failure::BadUsage;
use super::values::RateLimit;
use crate::audit::{Head, Verdict};
use crate::explain::{Described, Explanation};
use crate::keyring::confirm::Confirmations;
use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::ids::{KeyId, UserId};
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::reports::hour::HourUsage;
use crate::store::{EventFilter, KeyChanges, KeyFilter, KeyUsage, ListedEvent, UsageBreakdown, UsageFilter, UsageRow, UsageStep};

pub enum Backend {
    Store(Box<StoreBackend>),
    Api(Box<ApiBackend>),
}

/// What a new key is to be.
pub struct WantedKey {
    pub user_id: UserId,
    pub name: String,
    pub environment: Environment,
    /// `None`: as new keys have it.
    pub rate_limit: Option<RateLimit>,
    pub expires_at: Option<Timestamp>,
    pub allowed_ips: IpNetSet,
    pub scopes: Vec<String>,
}

/// A key with its text, for once.
pub struct KeyWithText {
    pub text: Zeroizing<String>,
    pub record: KeyRecord,
    /// After a rotation: until when the secret before works; `None`: it ended at once.
    pub previous_valid_until: Option<Timestamp>,
}

/// Keys, and what is wrong with the rows that could not be read.
pub struct Keys {
    pub keys: Vec<KeyRecord>,
    pub unreadable: Vec<String>,
}

macro_rules! works {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Backend {$(
            $(#[$doc])*
            pub async fn $name(&self, $($argument: $type),*) -> anyhow::Result<$answer> {
                match self {
                    Self::Store(store) => store.$name($($argument),*).await,
                    Self::Api(api) => api.$name($($argument),*),
                }
            }
        )*}
    };
}

works! {
    create(wanted: &WantedKey, now: Timestamp) -> KeyWithText;
    list(filter: &KeyFilter) -> Keys;
    show(key_id: &KeyId) -> KeyRecord;
    /// The key as it is after the change.
    update(key_id: &KeyId, changes: KeyChanges, now: Timestamp) -> KeyRecord;
    rotate(key_id: &KeyId, grace: Duration, now: Timestamp) -> KeyWithText;
    /// Who has confirmed, where that is waited for.
    revoke(key_id: &KeyId, wait: bool) -> Option<Confirmations>;
    hour(key_id: &KeyId) -> HourUsage;
    reset_hour(key_id: &KeyId) -> HourUsage;
    usage_top(since: Timestamp, limit: usize) -> Vec<KeyUsage>;
    /// Those with requests, from the step of `filter.since` on until now.
    usage_series(filter: &UsageFilter, every: Duration) -> Vec<UsageStep>;
    usage_of(key_id: &KeyId, since: Timestamp, until: Timestamp) -> UsageBreakdown;
    explain(described: &Described<'_>, key_id: Option<&KeyId>) -> Explanation;
    events(filter: &EventFilter) -> Vec<ListedEvent>;
    verify_events(head: Option<&Head>) -> Verdict;
}

impl Backend {
    /// Hands the rows over page by page, by time. Ends early, in order, when nobody takes them any more.
    pub async fn export_usage(&self, filter: &UsageFilter, pages: mpsc::Sender<Vec<UsageRow>>) -> anyhow::Result<()> {
        match self {
            Self::Store(store) => Ok(store.store.export_usage(filter, pages).await?),
            Self::Api(api) => api.export_usage(filter, pages).await,
        }
    }

    /// For a command that cannot do its work through the admin API.
    ///
    /// # Errors
    /// When it is asked to.
    pub fn store(&self, command: &str) -> Result<&StoreBackend, BadUsage> {
        match self {
            Self::Store(store) => Ok(store),
            Self::Api(_) => Err(BadUsage(format!(
                "{command} works on the store itself: leave --endpoint out, and HOKUSAI_API_ENDPOINT unset"
            ))),
        }
    }
}
