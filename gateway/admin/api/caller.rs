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
use crate::auth::known_key::KnownKey;
use crate::auth::{Refusal, authenticate};
use crate::client_address::{client_address, is_trusted};
use crate::clock::Moment;
use crate::config::{Accept, Config};
use crate::model::address::PeerAddr;

/// Where a credential is looked for.
pub const SOURCES: Accept = Accept { bearer: true, apikey: true, x_api_key: true, query: false };

pub enum Caller {
    Admin,
    /// With the key that says so, which is good now and from this address.
    Owner(Arc<KnownKey>),
}

/// An administrator; anybody else is refused.
pub struct Admin;

/// An administrator, or a peer in a trusted network.
pub struct Trusted;

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let config = api.config.load_full();
        let presented = extract::find(&parts.headers, None, SOURCES, &config.keys.prefix);
        if is_admin(&presented, &config) {
            return Ok(Self::Admin);
        }
        let client = client_address(peer(parts), &parts.headers, &config.client_address);
        let key = authenticate(presented, client, Moment::now(), &api.lookup).await;
        key.map(Self::Owner).map_err(Problem::from)
    }
}

impl FromRequestParts<Arc<Api>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        match Caller::from_request_parts(parts, api).await? {
            Caller::Admin => Ok(Self),
            Caller::Owner(_) => Err(Problem::Forbidden),
        }
    }
}

impl FromRequestParts<Arc<Api>> for Trusted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        if is_trusted(peer(parts).ip(), &api.config.load().client_address) {
            return Ok(Self);
        }
        Admin::from_request_parts(parts, api).await.map(|Admin| Self)
    }
}

/// Every token is compared, so that the time tells nothing of which.
fn is_admin(presented: &Presented, config: &Config) -> bool {
    let Presented::One { hash, .. } = presented else { return false };
    config.admin.tokens.iter().fold(false, |found, token| found | token.matches(hash))
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
