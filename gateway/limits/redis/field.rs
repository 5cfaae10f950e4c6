//! A gateway's field of a key's hour, as `hour.lua` writes it.

use std::cmp::Reverse;
use std::fmt;

/// See `hour.lua`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub hour: u64,
    pub number: u64,
    pub total: u64,
    pub granted: u64,
    pub spent: u64,
    pub named: bool,
}

impl Field {
    pub fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let [hour, number, total, granted, spent, named] = numbers[..] else { return None };
        Some(Self { hour, number, total, granted, spent, named: named == 1 })
    }

    /// The same order as in `hour.lua`: a lease that is over has joined the total.
    pub fn is_later_than(&self, other: &Self) -> bool {
        let age = |field: &Self| (field.number, field.hour, field.total, Reverse(field.granted), field.spent);
        age(self) > age(other)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hour, number, total, granted, spent, named } = self;
        write!(f, "{hour} {number} {total} {granted} {spent} {}", u8::from(*named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_reads_back_and_anything_else_is_none() {
        let text = "498698 1795341600000123 12 5 3 1";
        let field = Field::parse(text).unwrap();
        assert_eq!((field.number, field.granted, field.named), (1_795_341_600_000_123, 5, true));
        assert_eq!(field.to_string(), text);
        for text in ["", "1 2 3 4 5", "1 2 3 4 5 6 7", "1 2 3 4 5 x"] {
            assert_eq!(Field::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_lease_that_is_over_is_later_than_the_same_one_open_and_more_spent_is_later_than_less() {
        let order =
            ["9 7 0 5 0 1", "9 7 0 5 3 1", "9 7 0 0 0 1", "9 7 3 0 0 1", "9 8 3 2 0 1"].map(|text| Field::parse(text).unwrap());
        for (earlier, later) in order.iter().zip(&order[1..]) {
            assert!(later.is_later_than(earlier) && !earlier.is_later_than(later), "{later}");
        }
    }
}
