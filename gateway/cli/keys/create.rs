//! `keys create`

use clap::Args;
use serde::Serialize;

use super::Expiry;
use super::shown::{Shown, details};
use crate::cli::backend::WantedKey;
use crate::cli::tools::Tools;
use crate::cli::values::{self, RateLimit};
use crate::clock;
use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::ids::UserId;

pub const EXAMPLES: &str = "\
Examples:
  hokusai-gateway keys create --user ann --name ci
  hokusai-gateway keys create --user ann --name nightly --environment test \\
      --rate-limit none --expires-in 30d --scope read --scope write
  hokusai-gateway keys create --user ann --name office \\
      --allowed-ip 203.0.113.0/24 --allowed-ip 2001:db8::/32
  hokusai-gateway keys create --user ann --name ci --json | jq -r .key";

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Whose key it is
    #[arg(long, env = "HOKUSAI_USER_ID", hide_env_values = true)]
    user: UserId,
    /// What it is for, in your words
    #[arg(long)]
    name: String,
    /// Part of the key's text and sent upstream
    #[arg(long, default_value = Environment::Production.as_str(), value_parser = values::environment())]
    environment: Environment,
    /// Requests per hour, or `none` [default: keys.default_rate_limit of the configuration]
    #[arg(long, value_name = "N", value_parser = values::rate_limit)]
    rate_limit: Option<RateLimit>,
    #[command(flatten)]
    expiry: Expiry,
    /// An address or network the key may be used from; may be given several times [default: any]
    #[arg(long = "allowed-ip", value_name = "CIDR", value_parser = values::network)]
    allowed_ips: Vec<String>,
    /// What the key may do, as routes ask for it; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
}

pub async fn run(args: CreateArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let wanted = WantedKey {
        user_id: args.user,
        name: args.name,
        environment: args.environment,
        rate_limit: args.rate_limit,
        expires_at: args.expiry.instant(now),
        allowed_ips: IpNetSet::parse(&args.allowed_ips)?,
        scopes: args.scopes,
    };
    let created = tools.backend.create(&wanted, now).await?;
    let key = created.text.as_str();
    tools.output.print(&Created { key, shown: Shown::of(&created.record) }, || with_key(key, &details(&created.record, now)))
}

#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    #[serde(flatten)]
    shown: Shown<'a>,
}

/// The key first, on a line of its own, easily selected.
pub fn with_key(key: &str, details: &str) -> String {
    format!("{key}\n\nKeep it safe now: it is not stored and cannot be shown again.\n\n{details}")
}
