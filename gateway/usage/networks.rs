//! Where keys are used from: of IPv4 a /24, of IPv6 a /48. What this gateway has not met since its start is handed on.
//!
//! What must stay true here: a record from a network that the key was met in costs one look; what is remembered is bounded.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use foldhash::quality::RandomState;
use ipnet::IpNet;
use tokio::sync::Notify;

use crate::store::KeyNetwork;

/// Networks of all keys together; some 9 MiB. Beyond it everything is met anew.
const MOST: usize = 500_000;
/// That wait to be taken. Beyond it those that come are met later.
const MOST_WAITING: usize = 100_000;
/// So many should not wait for long: each takes ten times the memory of one that is only remembered.
const MANY: usize = 1_000;

/// What was met and not taken yet.
#[derive(Debug, Default)]
pub struct FirstMet {
    waiting: Mutex<Vec<KeyNetwork>>,
    many: Notify,
}

/// What was met: 64 bits of a hash for each key and network together, so that many keys take little memory. Two pairs of one hash, of which
/// the later is not told, come less than once in ten million million new ones; the hash has a seed, so nobody can choose them.
#[derive(Debug, Default)]
pub(super) struct Met {
    pairs: HashSet<u64, RandomState>,
    seed: RandomState,
}

impl FirstMet {
    pub fn take(&self) -> Vec<KeyNetwork> {
        std::mem::take(&mut *self.waiting())
    }

    /// What could not be noted. Nothing of it is met again before the next start.
    pub fn put_back(&self, networks: &[KeyNetwork]) {
        let mut waiting = self.waiting();
        let room = MOST_WAITING.saturating_sub(waiting.len());
        waiting.extend(networks.iter().take(room).cloned());
        if waiting.len() >= MANY {
            self.many.notify_one();
        }
    }

    /// Completes once many wait to be taken.
    pub async fn many(&self) {
        self.many.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<KeyNetwork>> {
        self.waiting.lock().expect("nothing panics while it holds the networks")
    }
}

impl Met {
    pub fn meet(&mut self, key_id: &str, address: IpAddr, first_met: &FirstMet) {
        let network = network_of(address);
        if self.is_new(key_id, network) {
            first_met.put_back(&[KeyNetwork { key_id: key_id.into(), network }]);
        }
    }

    fn is_new(&mut self, key_id: &str, network: IpNet) -> bool {
        let pair = self.seed.hash_one((key_id, network));
        if self.pairs.len() >= MOST && !self.pairs.contains(&pair) {
            self.pairs.clear();
        }
        self.pairs.insert(pair)
    }
}

fn network_of(address: IpAddr) -> IpNet {
    let address = address.to_canonical();
    let length = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, length).expect("no longer than an address").trunc()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn network(address: &str) -> IpNet {
        network_of(address.parse().unwrap())
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
    fn each_network_of_a_key_is_handed_on_once() {
        let (mut met, first_met) = (Met::default(), FirstMet::default());
        for (key, address) in
            [("a", "10.0.0.1"), ("a", "10.0.0.1"), ("a", "10.0.0.2"), ("b", "10.0.0.1"), ("a", "10.0.1.1"), ("a", "10.0.0.1")]
        {
            met.meet(key, address.parse().unwrap(), &first_met);
        }
        let told = first_met.take().into_iter().map(|met| format!("{} {}", met.key_id, met.network)).collect::<Vec<_>>();
        assert_eq!(told, ["a 10.0.0.0/24", "b 10.0.0.0/24", "a 10.0.1.0/24"]);
        assert_eq!(first_met.take(), []);
    }

    #[test]
    fn whoever_takes_them_is_told_once_many_wait() {
        let (mut met, first_met) = (Met::default(), FirstMet::default());
        (1..MANY).for_each(|key| met.meet(&key.to_string(), [10, 0, 0, 1].into(), &first_met));
        assert!(first_met.many().now_or_never().is_none());
        met.meet("the last", [10, 0, 0, 1].into(), &first_met);
        assert!(first_met.many().now_or_never().is_some());
        assert_eq!(first_met.take().len(), MANY);
    }

    #[test]
    fn what_waits_for_a_store_that_is_away_is_bounded() {
        let first_met = FirstMet::default();
        let some: Vec<_> = (0..MOST_WAITING).map(|_| KeyNetwork { key_id: "a".into(), network: network("10.0.0.1") }).collect();
        (0..3).for_each(|_| first_met.put_back(&some));
        assert_eq!(first_met.take().len(), MOST_WAITING);
    }
}
