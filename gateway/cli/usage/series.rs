//! `usage series`: steps of time, those without requests too.

use std::time::Duration;

use clap::Args;
use indicatif::BinaryBytes;

use super::Which;
use crate::cli::failure::BadUsage;
use crate::cli::output;
use crate::cli::tools::Tools;
use crate::clock;
use crate::reports::{SINCE, When, series, when};
use crate::store::UsageStep;

pub const NOTES: &str = "\
Steps are whole in UTC, so the first may begin before --since: 15m begins at the
full quarter of an hour, 1d at midnight. The last is still going on.

Examples:
  hokusai-gateway usage series
  hokusai-gateway usage series --since 30d --every 1d --key key_1234
  hokusai-gateway usage series --since 1h --every 1m --json | jq '.[].errors_5xx'";

/// Characters of the longest bar.
const BAR: u64 = 24;

#[derive(Debug, Args)]
pub struct SeriesArgs {
    /// How far back to look: 7d, or a time as in RFC 3339
    #[arg(long, default_value = SINCE, value_name = "WHEN", value_parser = when)]
    since: When,
    /// How long a step is; at least a second
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = series::whole_seconds)]
    every: Duration,
    #[command(flatten)]
    which: Which,
}

pub async fn run(args: &SeriesArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let starts = series::starts(args.since.instant(now), now, args.every)
        .map_err(|says| BadUsage(format!("--since with --every: {says}")))?;
    let until = now.plus(Duration::from_millis(1));
    let used = tools.backend.usage_series(&args.which.filter(starts[0], until), args.every).await?;
    let steps = series::with_empty(&starts, used);
    tools.output.print(&series::json(&steps), || in_words(&steps))
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

    #[test]
    fn a_bar_is_as_long_as_its_share_and_none_that_is_used_is_empty() {
        let lengths = [0, 1, 500, 1000].map(|count| bar(count, 1000).chars().count());
        assert_eq!(lengths, [0, 1, 12, 24]);
        assert_eq!(bar(0, 0), "");
    }
}
