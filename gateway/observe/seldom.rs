//! Warnings that somebody outside could cause without end.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines on the same thing.
const PAUSE: Duration = Duration::from_secs(10);

/// How often something happened that is not worth a line each time.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told_at: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// It happened. When it is time to say so: how often since it was said last, this time included.
    pub fn note(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold += 1;
        let is_due = state.told_at.is_none_or(|told_at| now.duration_since(told_at) >= PAUSE);
        is_due.then(|| {
            state.told_at = Some(now);
            std::mem::take(&mut state.untold)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_first_time_is_told_at_once_and_the_rest_together_later() {
        let (seldom, begin) = (Seldom::default(), clock::monotonic());
        let told = [0, 1, 9, 10, 11, 30].map(|seconds| seldom.note(begin + Duration::from_secs(seconds)));
        assert_eq!(told, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
