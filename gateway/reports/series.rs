//! Usage by steps of time.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::timestamp::Timestamp;
use crate::store::{UsageStep, UsageSums};
use crate::units::{format_duration, parse_duration};

/// More than anybody reads; a year of hours fits.
const MOST_STEPS: u64 = 10_000;

/// A step of time, as it may be asked for.
pub fn whole_seconds(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text).map_err(|error| error.to_string())?;
    match every.as_secs() > 0 && every.subsec_millis() == 0 {
        true => Ok(every),
        false => Err("a step is at least a second long, and a whole number of them".to_owned()),
    }
}

/// Of each step, from the one that holds `since` to the one that holds `now`.
pub fn starts(since: Timestamp, now: Timestamp, every: Duration) -> Result<Vec<Timestamp>, String> {
    let seconds = every.as_secs();
    let (first, last) = (since.as_secs() / seconds, now.as_secs() / seconds);
    match last.checked_sub(first) {
        None => Err("since lies in the future".to_owned()),
        Some(steps) if steps >= MOST_STEPS => Err(format!(
            "there are {} steps of {} since then, and {MOST_STEPS} are shown at most; make `every` longer",
            steps + 1,
            format_duration(every)
        )),
        Some(_) => Ok((first..=last).map(|step| Timestamp::from_secs(step * seconds)).collect()),
    }
}

/// A step without requests is one too.
pub fn with_empty(starts: &[Timestamp], used: Vec<UsageStep>) -> Vec<UsageStep> {
    let mut used = used.into_iter().peekable();
    let step =
        |&start| used.next_if(|step| step.start == start).unwrap_or_else(|| UsageStep { start, sums: UsageSums::default() });
    starts.iter().map(step).collect()
}

#[derive(Serialize, ToSchema)]
pub struct Step<'a> {
    start: String,
    #[serde(flatten)]
    sums: &'a UsageSums,
}

impl<'a> Step<'a> {
    fn of(step: &'a UsageStep) -> Self {
        Self { start: step.start.to_rfc3339(), sums: &step.sums }
    }
}

pub fn json(steps: &[UsageStep]) -> Vec<Step<'_>> {
    steps.iter().map(Step::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn steps_are_whole_and_hold_both_ends() {
        assert_eq!(starts(at(3599), at(7200), HOUR).unwrap(), [at(0), at(3600), at(7200)]);
        assert_eq!(starts(at(7300), at(7400), HOUR).unwrap(), [at(7200)]);
    }

    #[test]
    fn a_future_and_more_steps_than_anybody_reads_are_refused() {
        assert!(starts(at(7200), at(3600), HOUR).is_err());
        let all = |steps: u64| starts(at(0), at(steps - 1), Duration::from_secs(1)).map(|starts| starts.len() as u64);
        assert_eq!(all(MOST_STEPS).unwrap(), MOST_STEPS);
        assert!(all(MOST_STEPS + 1).is_err());
    }

    #[test]
    fn a_step_without_requests_is_zero() {
        let used = |start| UsageStep { start: at(start), sums: UsageSums { request_count: 1, ..UsageSums::default() } };
        let steps = with_empty(&[at(0), at(60), at(120), at(180)], vec![used(60), used(180)]);
        assert_eq!(
            steps.iter().map(|step| (step.start, step.sums.request_count)).collect::<Vec<_>>(),
            [(at(0), 0), (at(60), 1), (at(120), 0), (at(180), 1)]
        );
    }
}
