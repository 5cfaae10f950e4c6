//! `usage series`: steps of time, those without requests too.

use std::time::Duration;

use clap::Args;
use indicatif::BinaryBytes;
use serde::Serialize;

use super::{When, Which, values};
use crate::cli::failure::BadUsage;
use crate::cli::output;
use crate::cli::tools::Tools;
use crate::clock;
use crate::model::timestamp::Timestamp;
use crate::store::{UsageStep, UsageSums};
use crate::units::{format_duration, parse_duration};

pub const NOTES: &str = "\
Steps are whole in UTC, so the first may begin before --since: 15m begins at the
full quarter of an hour, 1d at midnight. The last is still going on.

Examples:
  hokusai-gateway usage series
  hokusai-gateway usage series --since 30d --every 1d --key key_1234
  hokusai-gateway usage series --since 1h --every 1m --json | jq '.[].errors_5xx'";

/// More than anybody reads; a year of hours fits.
const MOST_STEPS: u64 = 10_000;
/// Characters of the longest bar.
const BAR: u64 = 24;

#[derive(Debug, Args)]
pub struct SeriesArgs {
    /// How far back to look: 7d, or a time as in RFC 3339
    #[arg(long, default_value = "24h", value_name = "WHEN", value_parser = values::when)]
    since: When,
    /// How long a step is; at least a second
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = whole_seconds)]
    every: Duration,
    #[command(flatten)]
    which: Which,
}

pub async fn run(args: &SeriesArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let starts = starts(args.since.instant(now), now, args.every)?;
    let until = now.plus(Duration::from_millis(1));
    let used = tools.store.usage_series(&args.which.filter(starts[0], until), args.every).await?;
    let steps = with_empty(&starts, used);
    let answer: Vec<Step<'_>> = steps.iter().map(Step::of).collect();
    tools.output.print(&answer, || in_words(&steps))
}

fn whole_seconds(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text).map_err(|error| error.to_string())?;
    match every.as_secs() > 0 && every.subsec_millis() == 0 {
        true => Ok(every),
        false => Err("a step is at least a second long, and a whole number of them".to_owned()),
    }
}

/// Of each step, from the one that holds `since` to the one that holds `now`.
fn starts(since: Timestamp, now: Timestamp, every: Duration) -> Result<Vec<Timestamp>, BadUsage> {
    let seconds = every.as_secs();
    let (first, last) = (since.as_secs() / seconds, now.as_secs() / seconds);
    match last.checked_sub(first) {
        None => Err(BadUsage("--since lies in the future".to_owned())),
        Some(steps) if steps >= MOST_STEPS => Err(BadUsage(format!(
            "there are {} steps of {} since then, and {MOST_STEPS} are shown at most; make --every longer",
            steps + 1,
            format_duration(every)
        ))),
        Some(_) => Ok((first..=last).map(|step| Timestamp::from_secs(step * seconds)).collect()),
    }
}

fn with_empty(starts: &[Timestamp], used: Vec<UsageStep>) -> Vec<UsageStep> {
    let mut used = used.into_iter().peekable();
    let step =
        |&start| used.next_if(|step| step.start == start).unwrap_or_else(|| UsageStep { start, sums: UsageSums::default() });
    starts.iter().map(step).collect()
}

#[derive(Serialize)]
struct Step<'a> {
    start: String,
    #[serde(flatten)]
    sums: &'a UsageSums,
}

impl<'a> Step<'a> {
    fn of(step: &'a UsageStep) -> Self {
        Self { start: step.start.to_rfc3339(), sums: &step.sums }
    }
}

fn in_words(steps: &[UsageStep]) -> String {
    let most = steps.iter().map(|step| step.sums.request_count).max().unwrap_or_default();
    let row = |UsageStep { start, sums }: &UsageStep| {
        [
            output::time(*start),
            sums.request_count.to_string(),
            sums.errors_4xx.to_string(),
            sums.errors_5xx.to_string(),
            output::milliseconds(sums.avg_response_time_ms),
            output::milliseconds(sums.p95_response_time_ms),
            BinaryBytes(sums.request_bytes).to_string(),
            BinaryBytes(sums.response_bytes).to_string(),
            bar(sums.request_count, most),
        ]
    };
    output::table(["FROM (UTC)", "REQUESTS", "4XX", "5XX", "MEAN MS", "P95 MS", "IN", "OUT", ""], steps.iter().map(row))
}

/// Any request at all shows.
fn bar(count: u64, most: u64) -> String {
    let length = if count == 0 { 0 } else { (count * BAR / most).max(1) };
    "█".repeat(usize::try_from(length).expect("a bar is short"))
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

    #[test]
    fn a_bar_is_as_long_as_its_share_and_none_that_is_used_is_empty() {
        let lengths = [0, 1, 500, 1000].map(|count| bar(count, 1000).chars().count());
        assert_eq!(lengths, [0, 1, 12, 24]);
        assert_eq!(bar(0, 0), "");
    }
}
