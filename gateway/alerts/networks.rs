//! The networks that keys are used from: of IPv4 a /24, of IPv6 a /48. The rows of usage tell, of all gateways on the store.
//!
//! What must stay true here: a network that the rows knew when the gateway started is not new, nor is the first of a key. What is
//! remembered is bounded; of a key that has been everywhere nothing more is told.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;

use super::alert::Finding;
use super::teller::Teller;
use crate::clock;
use crate::config;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::AlertKind;
use crate::store::{KeyAddress, Store, StoreError};

/// How late a row may be written and still be seen.
const LATE: Duration = Duration::from_mins(10);
const MOST_OF_A_KEY: usize = 256;
/// Of all keys together; some 50 MiB.
const MOST: usize = 500_000;

#[derive(Debug, Default)]
pub struct Networks {
    known: HashMap<KeyId, BTreeSet<IpNet>>,
    count: usize,
    /// Up to when the rows were read; `None`: not yet.
    upto: Option<Timestamp>,
}

impl Networks {
    /// Reads the rows that are new, at first all of them.
    ///
    /// # Errors
    /// When the store gives no answer. The next look reads the same rows.
    pub async fn look(&mut self, store: &Store, rules: &config::Alerts, teller: &Teller) -> Result<(), StoreError> {
        if !rules.new_networks {
            *self = Self::default();
            return Ok(());
        }
        let (now, is_first) = (clock::now(), self.upto.is_none());
        let since = self.upto.map_or(Timestamp::from_secs(0), |upto| upto.minus(LATE));
        for KeyAddress { key_id, address } in store.addresses_used(since, now).await? {
            let network = network_of(address);
            if self.meet(&key_id, network) && !is_first {
                teller.found(&is_new(&key_id, network, address), rules);
            }
        }
        self.upto = Some(now);
        Ok(())
    }

    /// Whether it is new to a key that has others.
    fn meet(&mut self, key_id: &KeyId, network: IpNet) -> bool {
        if self.count >= MOST {
            return false;
        }
        let (is_new, has_others) = match self.known.get_mut(key_id) {
            Some(known) => (known.len() < MOST_OF_A_KEY && known.insert(network), true),
            None => (self.known.insert(key_id.clone(), BTreeSet::from([network])).is_none(), false),
        };
        self.count += usize::from(is_new);
        is_new && has_others
    }
}

fn network_of(address: IpAddr) -> IpNet {
    let address = address.to_canonical();
    let length = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, length).expect("no longer than an address").trunc()
}

fn is_new(key_id: &KeyId, network: IpNet, address: IpAddr) -> Finding {
    let network = network.to_string();
    Finding {
        kind: AlertKind::NewNetwork,
        subject: format!("{key_id} {network}"),
        summary: format!("key {key_id} is used from {network} for the first time"),
        details: json!({ "key_id": key_id.as_str(), "network": network, "address": address.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> IpNet {
        network_of(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_next_to_each_other_are_one_network() {
        assert_eq!(network("10.1.2.3"), network("10.1.2.250"));
        assert_eq!(network("10.1.2.3"), network("::ffff:10.1.2.4"));
        assert_ne!(network("10.1.2.3"), network("10.1.3.3"));
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:ffff::"));
        assert_ne!(network("2001:db8:1::"), network("2001:db8:2::"));
    }

    #[test]
    fn the_first_network_of_a_key_is_not_new_and_each_other_is_once() {
        let mut networks = Networks::default();
        let mut meet = |key: &str, address| networks.meet(&key.into(), network(address));
        assert_eq!([meet("a", "10.0.0.1"), meet("a", "10.0.0.2"), meet("b", "10.0.1.1")], [false; 3]);
        assert_eq!([meet("a", "10.0.1.1"), meet("a", "10.0.1.1"), meet("b", "10.0.0.1")], [true, false, true]);
    }

    #[test]
    fn of_a_key_that_has_been_everywhere_nothing_more_is_told_or_remembered() {
        let mut networks = Networks::default();
        let told = (0..=255).flat_map(|c| [0, 1].map(|b| format!("10.{b}.{c}.1")));
        let told = told.filter(|address| networks.meet(&"a".into(), network(address))).count();
        assert_eq!((told, networks.count), (MOST_OF_A_KEY - 1, MOST_OF_A_KEY));
    }
}
