//! Who calls: an administrator with one of the tokens, or an owner with one of their keys.
//!
//! What must stay true here: without a token in `HOKUSAI_ADMIN_TOKEN` nobody is an administrator.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

use super::Api;
use super::problem::Problem;
use crate::auth::extract::{self, Presented};
use crate::auth::known_key::{KnownKey, SharedKey};
use crate::auth::{Refusal, authenticate};
use crate::client_address::{client_address, is_trusted};
use crate::clock::Moment;
use crate::config::{Accept, Config};
use crate::keyring;
use crate::model::address::PeerAddr;
use crate::model::audit_event::{Actor, Via};
use crate::model::key_hash::KeyHash;
use crate::model::key_record::KeyRecord;
use crate::store::Store;

/// Where a credential is looked for.
pub const SOURCES: Accept = Accept { bearer: true, apikey: true, x_api_key: true, query: false };

pub struct Caller {
    owner: Option<SharedKey>,
    actor: Actor,
}

impl Caller {
    /// The key by which an owner calls, which is good now and from this address; `None`: it is an administrator.
    pub fn owner(&self) -> Option<&KnownKey> {
        self.owner.as_deref()
    }

    /// The record of that key, as the store has it now.
    pub async fn own_record(&self, api: &Api) -> Result<Option<KeyRecord>, Problem> {
        match self.owner() {
            None => Ok(None),
            Some(key) => Ok(Some(keyring::show(&api.store, key.key_id()).await?)),
        }
    }

    /// The store, to change something as this caller.
    pub fn store(&self, api: &Api) -> Store {
        api.store.acting_as(self.actor.clone())
    }
}

/// An administrator; anybody else is refused.
pub struct Admin(pub Caller);

/// An administrator, or a peer in a trusted network.
pub struct Trusted;

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let config = api.config.load_full();
        let presented = extract::find(&parts.headers, None, SOURCES, &config.keys.prefix);
        let client = client_address(peer(parts), &parts.headers, &config.client_address);
        let acting = |name: &str| Actor::new(name, Via::Api, client.map(|client| client.to_string()).as_deref());
        if let Some(token) = admin_token(&presented, &config) {
            // Enough of its hash to tell one token from another, and too little to try guesses against.
            return Ok(Self { owner: None, actor: acting(&format!("admin token {}", &token.to_hex()[..6])) });
        }
        let key = authenticate(presented, client, Moment::now(), &api.lookup).await?;
        let actor = acting(&format!("{} with {}", key.user_id(), key.key_id()));
        Ok(Self { owner: Some(key), actor })
    }
}

impl FromRequestParts<Arc<Api>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        if caller.owner().is_some() {
            return Err(Problem::Forbidden);
        }
        Ok(Self(caller))
    }
}

impl FromRequestParts<Arc<Api>> for Trusted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        if is_trusted(peer(parts).ip(), &api.config.load().client_address) {
            return Ok(Self);
        }
        Admin::from_request_parts(parts, api).await.map(|_| Self)
    }
}

/// Every token is compared, so that the time tells nothing of which.
fn admin_token<'a>(presented: &Presented<'_>, config: &'a Config) -> Option<&'a KeyHash> {
    let Presented::One { hash, .. } = presented else { return None };
    config.admin.tokens.iter().fold(None, |found, token| if token == hash { Some(token) } else { found })
}

fn peer(parts: &Parts) -> PeerAddr {
    let ConnectInfo(address) = parts.extensions.get::<ConnectInfo<SocketAddr>>().expect("the server tells the peer of each");
    PeerAddr::new(*address)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::MissingCredential,
            Refusal::Several => Self::Malformed("two different credentials were sent".to_owned()),
            Refusal::Unknown | Refusal::Inactive | Refusal::Expired | Refusal::Address => Self::InvalidCredential,
            // Whatever the store's trouble is: it says nothing about the key.
            Refusal::Unavailable(_) => Self::StoreUnavailable,
        }
    }
}
