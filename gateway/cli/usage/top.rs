//! `usage top`

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::cli::output;
use crate::cli::tools::Tools;
use crate::clock;
use crate::reports::{SINCE, When, when};
use crate::store::KeyUsage;

pub const EXAMPLE: &str = "Example:\n  hokusai-gateway usage top --since 7d --limit 3";

#[derive(Debug, Args)]
pub struct TopArgs {
    /// How far back to look: 7d, or a time as in RFC 3339
    #[arg(long, default_value = SINCE, value_name = "WHEN", value_parser = when)]
    since: When,
    /// How many keys to show
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = at_least_one())]
    limit: usize,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

pub async fn run(args: &TopArgs, tools: &Tools) -> anyhow::Result<()> {
    let keys = tools.backend.usage_top(args.since.instant(clock::now()), args.limit).await?;
    tools.output.print(&keys, || in_words(&keys))
}

fn in_words(keys: &[KeyUsage]) -> String {
    if keys.is_empty() {
        return "No requests.".to_owned();
    }
    let row = |usage: &KeyUsage| {
        let average = output::milliseconds(usage.avg_response_time_ms);
        [usage.name.clone(), usage.user_id.clone(), usage.request_count.to_string(), average]
    };
    output::table(["NAME", "USER", "REQUESTS", "MEAN MS"], keys.iter().map(row))
}
