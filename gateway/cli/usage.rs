//! `usage`: who uses the gateway.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::output;
use super::tools::Tools;
use crate::clock;
use crate::store::KeyUsage;
use crate::units::parse_duration;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The keys with the most requests
    #[command(after_help = "Example:\n  hokusai-gateway usage top --since 7d --limit 3")]
    Top(TopArgs),
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// How far back to look
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = parse_duration)]
    since: Duration,
    /// How many keys to show
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = at_least_one())]
    limit: usize,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

pub async fn run(command: Command, tools: &Tools) -> anyhow::Result<()> {
    let Command::Top(args) = command;
    let keys = tools.store.usage_top(clock::now().minus(args.since), args.limit).await?;
    let answer: Vec<KeyOfTop<'_>> = keys.iter().map(KeyOfTop::of).collect();
    tools.output.print(&answer, || in_words(&keys))
}

#[derive(Serialize)]
struct KeyOfTop<'a> {
    name: &'a str,
    user_id: &'a str,
    request_count: u64,
    avg_response_time_ms: f64,
}

impl<'a> KeyOfTop<'a> {
    fn of(usage: &'a KeyUsage) -> Self {
        Self {
            name: &usage.name,
            user_id: &usage.user_id,
            request_count: usage.request_count,
            avg_response_time_ms: usage.avg_response_time_ms,
        }
    }
}

fn in_words(keys: &[KeyUsage]) -> String {
    if keys.is_empty() {
        return "No requests.".to_owned();
    }
    let row = |usage: &KeyUsage| {
        let average = format!("{:.1}", usage.avg_response_time_ms);
        [usage.name.clone(), usage.user_id.clone(), usage.request_count.to_string(), average]
    };
    output::table(["NAME", "USER", "REQUESTS", "AVERAGE MS"], keys.iter().map(row))
}
