//! The gateways that share an hour while nobody can be asked for its count.

use std::collections::BTreeSet;

/// This gateway among those that were last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    size: u64,
    /// From 0, in the order of their names.
    place: u64,
}

impl Fleet {
    pub const ALONE: Self = Self { size: 1, place: 0 };

    /// `seen`: names, perhaps its own among them.
    pub fn of<'a>(own: &'a str, seen: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: BTreeSet<&str> = seen.into_iter().collect();
        names.insert(own);
        Self { size: names.len() as u64, place: names.range(..own).count() as u64 }
    }

    /// This gateway's part of what is left. Gateways that saw the same ones take no more than that together, and no less: what
    /// cannot be divided goes to the first of them.
    pub fn share(self, left: u64) -> u64 {
        left / self.size + u64::from(self.place < left % self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_what_is_left_also_when_there_is_less_than_one_for_each() {
        let names = ["b", "d", "a", "c"];
        for left in 0..20 {
            let shares = names.map(|own| Fleet::of(own, names).share(left));
            assert_eq!(shares.iter().sum::<u64>(), left);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
    }

    #[test]
    fn a_gateway_counts_itself_once_seen_or_not() {
        assert_eq!(Fleet::of("a", []), Fleet::ALONE);
        assert_eq!(Fleet::of("a", ["a"]), Fleet::ALONE);
        assert_eq!(Fleet::of("b", ["a", "c"]), Fleet { size: 3, place: 1 });
    }
}
