//! `keys update`

use clap::Args;

use super::Expiry;
use super::shown::{Listed, details};
use crate::cli::tools::Tools;
use crate::cli::values::{self, RateLimit};
use crate::clock;
use crate::model::address::{IpNetSet, NotANetwork};
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::store::{KeyChanges, Update};

pub const EXAMPLES: &str = "\
Only what is given changes. Gateways that reach the store follow at once.

Examples:
  hokusai-gateway keys update key_0123456789abcdef01234567 --rate-limit 5000
  hokusai-gateway keys update key_0123456789abcdef01234567 --disable
  hokusai-gateway keys update key_0123456789abcdef01234567 \\
      --allowed-ip 203.0.113.7 --allowed-ip 10.0.0.0/8";

pub const USAGE: &str = "hokusai-gateway keys update <KEY_ID> <CHANGE>...";

/// At least one is needed.
const ANY_OF: [&str; 12] = [
    "user",
    "name",
    "rate_limit",
    "expires_in",
    "expires_at",
    "no_expiry",
    "allowed_ips",
    "any_ip",
    "scopes",
    "no_scopes",
    "enable",
    "disable",
];

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// As `keys list` shows it
    key_id: KeyId,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true, args = ANY_OF)]
struct Wanted {
    /// Give it to another user
    #[arg(long)]
    user: Option<String>,
    /// What it is for, in your words
    #[arg(long)]
    name: Option<String>,
    /// Requests per hour, or `none`
    #[arg(long, value_name = "N", value_parser = values::rate_limit)]
    rate_limit: Option<RateLimit>,
    #[command(flatten)]
    expiry: Expiry,
    /// Let it work until it is revoked
    #[arg(long, conflicts_with_all = ["expires_in", "expires_at"])]
    no_expiry: bool,
    /// An address or network it may be used from, instead of those before; may be given several times
    #[arg(long = "allowed-ip", value_name = "CIDR", value_parser = values::network, conflicts_with = "any_ip")]
    allowed_ips: Vec<String>,
    /// Let it be used from anywhere
    #[arg(long)]
    any_ip: bool,
    /// What it may do, instead of what it might before; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "no_scopes")]
    scopes: Vec<String>,
    /// Take all its scopes away
    #[arg(long)]
    no_scopes: bool,
    /// Let a disabled key work again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Stop it until it is enabled again
    #[arg(long)]
    disable: bool,
}

pub async fn run(args: UpdateArgs, tools: &Tools) -> anyhow::Result<()> {
    let now = clock::now();
    let changes = args.wanted.into_changes(now)?;
    let record = tools.backend.update(&args.key_id, changes, now).await?;
    tools.output.print(&Listed::of(&record), || details(&record, now))
}

impl Wanted {
    fn into_changes(self, now: Timestamp) -> Result<KeyChanges, NotANetwork> {
        let expires_at = self.expiry.instant(now);
        let allowed_ips = IpNetSet::parse(&self.allowed_ips)?;
        Ok(KeyChanges {
            user_id: set_if(self.user.is_some(), self.user.unwrap_or_default().into()),
            name: set_if(self.name.is_some(), self.name.unwrap_or_default()),
            expires_at: set_if(self.no_expiry || expires_at.is_some(), expires_at),
            is_active: set_if(self.enable || self.disable, self.enable),
            rate_limit_per_hour: self.rate_limit.map_or(Update::Keep, |limit| Update::Set(limit.0)),
            allowed_ips: set_if(self.any_ip || !allowed_ips.is_empty(), allowed_ips),
            scopes: set_if(self.no_scopes || !self.scopes.is_empty(), self.scopes),
            only_if: None,
        })
    }
}

fn set_if<T>(asked: bool, value: T) -> Update<T> {
    if asked { Update::Set(value) } else { Update::Keep }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn any_option_alone_is_a_change_that_can_be_asked_for() {
        let command = UpdateArgs::augment_args(Command::new("update"));
        let options: Vec<&str> = command.get_opts().map(|option| option.get_id().as_str()).collect();
        assert_eq!(options, ANY_OF);
    }
}
