//! `usage show`

use clap::Args;
use indicatif::BinaryBytes;

use crate::cli::output::{self, milliseconds};
use crate::cli::tools::Tools;
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::reports::breakdown::Breakdown;
use crate::reports::{SINCE, When, when};
use crate::store::{AddressUsage, EndpointUsage, UsageBreakdown};

pub const EXAMPLE: &str = "Example:\n  hokusai-gateway usage show key_1234 --since 7d";

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// As `keys list` shows it
    key_id: KeyId,
    /// How far back to look: 7d, or a time as in RFC 3339
    #[arg(long, default_value = SINCE, value_name = "WHEN", value_parser = when)]
    since: When,
}

pub async fn run(args: &ShowArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let key = tools.backend.show(&args.key_id).await?;
    let since = args.since.instant(now);
    let usage = tools.backend.usage_of(&args.key_id, since, now).await?;
    tools.output.print(&Breakdown::of(&key, since, &usage), || in_words(&key, since, &usage))
}

fn in_words(key: &KeyRecord, since: Timestamp, usage: &UsageBreakdown) -> String {
    let totals = totals(key, since, usage);
    if usage.sums.request_count == 0 {
        return totals;
    }
    let statuses = usage.statuses.iter().map(|status| [status.status_code.to_string(), status.request_count.to_string()]);
    let address = |used: &AddressUsage| [used.client_ip.clone().unwrap_or("unknown".to_owned()), used.request_count.to_string()];
    [
        totals,
        output::table(["STATUS", "REQUESTS"], statuses),
        endpoints("TOP ENDPOINTS", &usage.busiest),
        endpoints("SLOWEST ENDPOINTS", &usage.slowest),
        output::table(["CLIENT ADDRESSES", "REQUESTS"], usage.addresses.iter().map(address)),
    ]
    .join("\n\n")
}

fn totals(key: &KeyRecord, since: Timestamp, usage: &UsageBreakdown) -> String {
    let sums = &usage.sums;
    output::fields([
        ("Key", format!("{} ({} of {})", key.key_id, key.name, key.user_id)),
        ("Since (UTC)", output::time(since)),
        ("Requests", sums.request_count.to_string()),
        ("Errors", format!("{} of 4xx, {} of 5xx", sums.errors_4xx, sums.errors_5xx)),
        (
            "Response time",
            format!(
                "mean {} ms, 95 of 100 within {} ms",
                milliseconds(sums.avg_response_time_ms),
                milliseconds(sums.p95_response_time_ms)
            ),
        ),
        ("Bodies", format!("{} in, {} out", BinaryBytes(sums.request_bytes), BinaryBytes(sums.response_bytes))),
        ("First used (UTC)", output::time_or(usage.first_at, "not since then")),
        ("Last used (UTC)", output::time_or(usage.last_at, "not since then")),
    ])
}

fn endpoints(heading: &str, used: &[EndpointUsage]) -> String {
    let row =
        |used: &EndpointUsage| [used.endpoint.clone(), used.request_count.to_string(), milliseconds(used.avg_response_time_ms)];
    output::table([heading, "REQUESTS", "MEAN MS"], used.iter().map(row))
}
