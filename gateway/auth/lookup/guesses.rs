//! How fast the store may be asked for keys that turn out not to exist: anybody can make up keys with a good checksum.
//!
//! What must stay true here: a look-up that finds a key costs nothing in the end, so that however many clients come back after a
//! restart, their keys are found.

use std::sync::{Mutex, MutexGuard};

/// Look-ups that found nothing, or are under way, at once.
const BURST: u64 = 10_000;
/// One more for each. A thousand a second is little work for a store, and more than honest clients mistake.
const MILLIS_EACH: u64 = 1;

#[derive(Debug)]
pub struct Guesses(Mutex<Left>);

#[derive(Debug)]
struct Left {
    count: u64,
    /// Milliseconds, until when time was made into more.
    counted_at: u64,
}

impl Guesses {
    pub fn new() -> Self {
        Self(Mutex::new(Left { count: BURST, counted_at: 0 }))
    }

    /// Takes one, if there is one. `now` in milliseconds, of any clock that is always the same.
    pub fn take(&self, now: u64) -> bool {
        let mut left = self.left();
        let more = now.saturating_sub(left.counted_at) / MILLIS_EACH;
        left.counted_at += more * MILLIS_EACH;
        let count = left.count.saturating_add(more).min(BURST);
        left.count = count.saturating_sub(1);
        count > 0
    }

    /// It was no guess.
    pub fn give_back(&self) {
        let mut left = self.left();
        left.count = (left.count + 1).min(BURST);
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.0.lock().expect("nothing panics while it counts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(guesses: &Guesses, times: u64, now: u64) -> u64 {
        (0..times).filter(|_| guesses.take(now)).count() as u64
    }

    #[test]
    fn a_flood_gets_its_burst_and_then_a_fixed_rate() {
        let guesses = Guesses::new();
        assert_eq!(taken(&guesses, 2 * BURST, 0), BURST);
        assert_eq!(taken(&guesses, BURST, 250), 250);
        assert_eq!(taken(&guesses, BURST, 250), 0);
        assert_eq!(taken(&guesses, 2 * BURST, 1_000_000), BURST, "a long silence is worth no more than a burst");
    }

    #[test]
    fn keys_that_are_found_cost_nothing() {
        let guesses = Guesses::new();
        for _ in 0..2 * BURST {
            assert!(guesses.take(0));
            guesses.give_back();
        }
        assert_eq!(taken(&guesses, 2 * BURST, 0), BURST);
    }
}
