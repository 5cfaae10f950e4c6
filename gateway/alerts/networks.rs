//! Keys that are used from a network (IPv4 /24, IPv6 /48) for the first time. The store knows what any gateway has met.
//!
//! What must stay true here: over all gateways a network of a key is told by one of them, once, and not while the key's networks
//! are still being learnt.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::alert::Finding;
use super::teller::Teller;
use crate::clock;
use crate::config;
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::AlertKind;
use crate::store::{KeyNetwork, NewNetwork, Store, StoreError};
use crate::usage::FirstMet;

/// Noted in one transaction.
const AT_ONCE: usize = 1_000;

/// # Errors
/// When the store gives no answer. What was not noted is noted by the next look.
pub async fn look(first_met: &FirstMet, store: &Store, rules: &config::Alerts, teller: &Teller) -> Result<(), StoreError> {
    let met = first_met.take();
    if !rules.new_networks {
        return Ok(());
    }
    let mut left = met.as_slice();
    while !left.is_empty() {
        let (some, rest) = left.split_at(left.len().min(AT_ONCE));
        match store.note_networks(Arc::from(some)).await {
            Ok(new) => tell(&new, rules, teller),
            Err(error) => {
                first_met.put_back(left);
                return Err(error);
            }
        }
        left = rest;
    }
    Ok(())
}

fn tell(new: &[NewNetwork], rules: &config::Alerts, teller: &Teller) {
    let now = clock::now();
    let learnt = new.iter().filter(|new| is_learnt(new.key_met_at, now, rules.learn_networks));
    learnt.for_each(|new| teller.found(&finding(&new.key_network), rules));
}

fn is_learnt(key_met_at: Timestamp, now: Timestamp, learn_for: Duration) -> bool {
    key_met_at.plus(learn_for) <= now
}

fn finding(KeyNetwork { key_id, network }: &KeyNetwork) -> Finding {
    let network = network.to_string();
    Finding {
        kind: AlertKind::NewNetwork,
        subject: format!("{key_id} {network}"),
        summary: format!("key {key_id} is used from {network} for the first time"),
        details: json!({ "key_id": key_id.as_str(), "network": network }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_told_of_a_key_that_is_known_for_long_enough() {
        let (met, day) = (Timestamp::from_secs(1_000_000), Duration::from_hours(24));
        assert!(!is_learnt(met, met.plus(day).minus(Duration::from_millis(1)), day));
        assert!(is_learnt(met, met.plus(day), day));
        assert!(is_learnt(met, met, Duration::ZERO));
    }
}
