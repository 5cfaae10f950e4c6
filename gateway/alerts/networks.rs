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
use crate::config::Config;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::AlertKind;
use crate::store::{KeyAddress, Store, StoreError};

/// How late a row may be written and still be seen.
const LATE: Duration = Duration::from_mins(10);
const DAY: Duration = Duration::from_hours(24);
const MOST_OF_A_KEY: usize = 256;
/// Of all keys together; some 50 MiB.
const MOST: usize = 500_000;

#[derive(Debug, Default)]
pub struct Networks {
    known: HashMap<KeyId, BTreeSet<IpNet>>,
    count: usize,
    /// The first look: what the rows have from before is not new.
    began: Option<Timestamp>,
    /// Up to when the rows were read.
    upto: Option<Timestamp>,
}

impl Networks {
    /// Reads the rows that are new, at first all of them.
    ///
    /// # Errors
    /// When the store gives no answer. The next look goes on from there.
    pub async fn look(&mut self, store: &Store, config: &Config, teller: &Teller) -> Result<(), StoreError> {
        let rules = &config.alerts;
        if !rules.new_networks {
            *self = Self::default();
            return Ok(());
        }
        let now = clock::now();
        let began = *self.began.get_or_insert(now);
        let mut upto = self.upto.unwrap_or(now.minus(config.usage.retention));
        while upto < now {
            let until = next_stop(upto, began, now);
            for KeyAddress { key_id, address } in store.addresses_used(upto.minus(LATE), until).await? {
                let network = network_of(address);
                if self.meet(&key_id, network) && until > began {
                    teller.found(&is_new(&key_id, network, address), rules);
                }
            }
            upto = until;
            self.upto = Some(upto);
        }
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

/// A question is about a day at most, and about the time before the first look or after it.
fn next_stop(upto: Timestamp, began: Timestamp, now: Timestamp) -> Timestamp {
    let end = if upto < began { began } else { now };
    upto.plus(DAY).min(end)
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
    fn the_past_is_read_a_day_at_a_time_and_apart_from_what_comes() {
        let at = |hours: u64| Timestamp::from_secs(hours * 3600);
        let stop = |upto, began, now| next_stop(at(upto), at(began), at(now)).as_secs() / 3600;
        assert_eq!([stop(0, 30, 40), stop(24, 30, 40), stop(30, 30, 40), stop(40, 30, 90)], [24, 30, 40, 64]);
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
