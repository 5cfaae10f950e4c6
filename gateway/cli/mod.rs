//! The command line: what may be typed, and what runs then.
//!
//! What must stay true here: the answer of a command is all that stands on stdout, everything else goes to stderr; it exits
//! 0 when it did what was asked, 1 when it could not, 2 when it was asked in a way that cannot be understood.

mod audit;
mod backend;
mod check;
mod cleanup;
mod completions;
mod demo;
mod explain;
mod failure;
mod keys;
mod limits;
mod man;
mod migrate;
mod output;
mod schema;
mod serve;
mod tools;
mod usage;
mod values;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use failure::BadUsage;
use tools::Tools;

pub fn main() -> ExitCode {
    match CommandLine::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::tell(&error),
    }
}

/// A reverse proxy that checks API keys, counts their use and limits it.
#[derive(Debug, Parser)]
#[command(name = "hokusai-gateway", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  hokusai-gateway demo                              # no file, no service needed
  hokusai-gateway keys create --user ann --name ci
  hokusai-gateway check && hokusai-gateway serve    # with ./gateway.toml

Environment:
  GATEWAY_CONFIG      default of --config
  HOKUSAI_USER_ID     default of --user
  HOKUSAI_ADMIN_TOKEN opens the admin API of a gateway to who sends it
  HOKUSAI_API_ENDPOINT, HOKUSAI_API_KEY
                      default of --endpoint; the key of an owner, sent there where
                      HOKUSAI_ADMIN_TOKEN is not set
  DATABASE_URL, REDIS_URL, API_KEY_CACHE_TTL, DEFAULT_RATE_LIMIT
                      instead of store.url, redis.url, keys.cache_ttl (in
                      seconds) and keys.default_rate_limit of the configuration
  HOKUSAI_WEBHOOK_SECRET
                      instead of the secret of each of its alerts.webhooks

Exit status: 0 done, 1 failed, 2 bad usage.";

/// What every command takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file [default: ./gateway.toml, then /etc/hokusai-gateway/gateway.toml]
    #[arg(short, long, global = true, env = "GATEWAY_CONFIG", hide_env_values = true, value_name = "PATH")]
    #[arg(help_heading = "Options of every command", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    config: Option<PathBuf>,
    /// Work through the admin API of the gateway there instead of on the store [env: HOKUSAI_API_ENDPOINT=]
    // Not clap's `env`: it is for those commands that can.
    #[arg(long, global = true, value_name = "URL", help_heading = "Options of every command")]
    endpoint: Option<String>,
    /// Answer in JSON: one object, or one array for lists
    #[arg(long, global = true, help_heading = "Options of every command")]
    json: bool,
    /// Write the log to this file too
    #[arg(long, global = true, value_name = "PATH", help_heading = "Options of every command")]
    log_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    #[command(after_help = serve::NOTES)]
    Serve,
    /// Validate the configuration and list every problem in it
    Check,
    /// Try it: a gateway, a sample upstream and a fresh key, with nothing to set up
    #[command(after_help = demo::NOTES)]
    Demo,
    /// Create, list or drop the tables
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Create, list, change, rotate and revoke API keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Show or reset what a key has used of its hourly limit
    #[command(subcommand)]
    Limits(limits::Command),
    /// Show who uses the gateway
    #[command(subcommand)]
    Usage(usage::Command),
    /// Show who changed which key, and check that this record is whole
    #[command(subcommand)]
    Audit(audit::Command),
    /// Say what would become of a request, step by step, spending nothing
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// Deactivate expired keys and delete old usage
    #[command(after_help = cleanup::EXAMPLES)]
    Cleanup(cleanup::CleanupArgs),
    /// Print what makes a shell complete these commands
    #[command(after_help = completions::NOTES)]
    Completions(completions::CompletionsArgs),
    /// Write a manual page for each command
    #[command(after_help = man::EXAMPLE)]
    Man(man::ManArgs),
    /// Print the JSON Schema of gateway.toml, by which editors complete and check it
    #[command(after_help = schema::NOTES)]
    Schema,
}

impl Command {
    /// Through the admin API of a gateway.
    fn works_elsewhere(&self) -> bool {
        matches!(self, Self::Keys(_) | Self::Limits(_) | Self::Usage(_) | Self::Explain(_) | Self::Audit(_))
    }
}

impl CommandLine {
    fn run(self) -> anyhow::Result<()> {
        let common = &self.common;
        if common.endpoint.is_some() && !self.command.works_elsewhere() {
            return Err(
                BadUsage("--endpoint is for keys, limits, usage, explain and audit; this works here alone".to_owned()).into()
            );
        }
        match self.command {
            Command::Serve => serve::run(common),
            Command::Check => check::run(common),
            Command::Demo => demo::run(common),
            Command::Migrate(command) => Tools::on_store(common)?.run(async |tools| migrate::run(command, tools).await),
            Command::Keys(command) => Tools::open(common)?.run(async |tools| keys::run(command, tools).await),
            Command::Limits(command) => Tools::open(common)?.run(async |tools| limits::run(command, tools).await),
            Command::Usage(command) => Tools::open(common)?.run(async |tools| usage::run(command, tools).await),
            Command::Audit(command) => Tools::open(common)?.run(async |tools| audit::run(command, tools).await),
            Command::Explain(args) => Tools::open(common)?.run(async |tools| explain::run(&args, tools).await),
            Command::Completions(args) => completions::run(&args, common),
            Command::Man(args) => man::run(&args, common),
            Command::Schema => schema::run(common),
            Command::Cleanup(args) => Tools::on_store(common)?.run(async |tools| cleanup::run(&args, tools).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        CommandLine::command().debug_assert();
    }
}
