//! How many connections each client address has open (`server.max_connections_per_address`).
//!
//! What must stay true here: an address without a connection takes no memory, and each connection that was counted is taken off
//! exactly once. Trusted proxies are not counted: theirs are the connections of many.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::clock;
use crate::model::address::{PeerAddr, subscriber};
use crate::observe::seldom::Seldom;

/// So that two workers seldom want the same lock.
const PARTS: usize = 16;

/// Shared by the workers.
#[derive(Debug, Default)]
pub struct PerAddress {
    parts: [Mutex<HashMap<IpAddr, usize>>; PARTS],
    hasher: RandomState,
    refused: Seldom,
}

/// A connection that is counted, as long as it lives.
#[derive(Debug)]
pub struct Counted {
    all: Arc<PerAddress>,
    address: IpAddr,
}

impl PerAddress {
    /// One more for this peer; `None` when it has as many as it may.
    pub fn enter(self: &Arc<Self>, peer: PeerAddr, limit: NonZeroUsize) -> Option<Counted> {
        let address = subscriber(peer.ip());
        if !self.add(address, limit) {
            if let Some(times) = self.refused.note(clock::monotonic()) {
                tracing::warn!(client = %peer.ip(), limit, times, "a connection was closed: its address has too many");
            }
            return None;
        }
        Some(Counted { all: Arc::clone(self), address })
    }

    fn add(&self, address: IpAddr, limit: NonZeroUsize) -> bool {
        let mut part = self.part(address);
        let open = part.entry(address).or_default();
        let fits = *open < limit.get();
        *open += usize::from(fits);
        fits
    }

    fn part(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let number = usize::try_from(self.hasher.hash_one(address) % PARTS as u64).expect("there are few parts");
        self.parts[number].lock().expect("nothing panics while it counts")
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut part = self.all.part(self.address);
        let open = part.get_mut(&self.address).expect("this connection is counted");
        *open -= 1;
        if *open == 0 {
            part.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(all: &Arc<PerAddress>, address: &str) -> Option<Counted> {
        all.enter(PeerAddr::new(format!("{address}:1").parse().unwrap()), NonZeroUsize::new(2).unwrap())
    }

    #[test]
    fn each_address_has_its_own_count_and_the_end_of_one_makes_room() {
        let all = Arc::<PerAddress>::default();
        let first = (enter(&all, "192.0.2.1").unwrap(), enter(&all, "192.0.2.1").unwrap());
        assert!(enter(&all, "192.0.2.1").is_none() && enter(&all, "192.0.2.2").is_some());
        drop(first.0);
        assert!(enter(&all, "192.0.2.1").is_some());
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_address() {
        let all = Arc::<PerAddress>::default();
        let _kept = [enter(&all, "[2001:db8::1]").unwrap(), enter(&all, "[2001:db8::2]").unwrap()];
        assert!(enter(&all, "[2001:db8::3]").is_none() && enter(&all, "[2001:db8:0:1::1]").is_some());
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let all = Arc::<PerAddress>::default();
        drop([enter(&all, "192.0.2.1"), enter(&all, "192.0.2.1"), enter(&all, "192.0.2.1")]);
        assert!(all.parts.iter().all(|part| part.lock().unwrap().is_empty()));
    }
}
