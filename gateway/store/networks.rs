//! Where keys are used from, in the words of every kind of store.

use ipnet::IpNet;

use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;

/// Networks that are kept of each key: one that has been everywhere is at home everywhere.
pub(super) const MOST_OF_A_KEY: usize = 256;

/// A key was used from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyNetwork {
    pub key_id: KeyId,
    /// Of IPv4 a /24, of IPv6 a /48.
    pub network: IpNet,
}

/// One that nobody had met, of a key that had others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNetwork {
    pub key_network: KeyNetwork,
    /// When the first network of the key was met.
    pub key_met_at: Timestamp,
}
