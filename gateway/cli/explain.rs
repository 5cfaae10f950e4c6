//! `explain`: why a request passes or does not.

use std::net::IpAddr;

use clap::Args;

use super::output;
use super::tools::Tools;
use crate::explain::{Described, Explanation};
use crate::model::ids::KeyId;

pub const EXAMPLES: &str = "\
Nothing is sent and nothing is spent. The configuration file is judged as it is
now, which may be newer than what a running gateway has read.

Examples:
  hokusai-gateway explain --key-id key_0123456789abcdef01234567 --ip 203.0.113.7 --path /reports
  hokusai-gateway explain --ip 10.0.0.1 --header 'X-Forwarded-For: 203.0.113.7' --method POST";

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The key it presents, as `keys list` shows it [default: none]
    #[arg(long)]
    key_id: Option<KeyId>,
    /// Who is connected: the client, or the proxy before the gateway
    #[arg(long)]
    ip: IpAddr,
    #[arg(long, default_value = "GET", help = "The request's method")]
    method: String,
    /// Its path with its query
    #[arg(long, default_value = "/")]
    path: String,
    /// The host it is for
    #[arg(long, default_value = "localhost")]
    host: String,
    /// A header of it; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// It comes over TLS
    #[arg(long)]
    https: bool,
}

pub async fn run(args: &ExplainArgs, tools: &Tools) -> anyhow::Result<()> {
    let described = Described {
        method: &args.method,
        target: &args.path,
        host: &args.host,
        headers: args.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        ip: args.ip,
        https: args.https,
    };
    let explanation = tools.backend.explain(&described, args.key_id.as_ref()).await?;
    tools.output.print(&explanation, || in_words(&explanation))
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("a name and a value with a colon between them are needed")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn in_words(explanation: &Explanation) -> String {
    let rows = explanation.steps.iter().map(|step| {
        let verdict = if step.passed { "passes" } else { "REFUSED" };
        [step.step.to_string(), verdict.to_owned(), step.says.clone()]
    });
    let steps = output::table(["STEP", "VERDICT", "WHY"], rows);
    let outcome = &explanation.outcome;
    match (explanation.status, &explanation.code) {
        (Some(status), Some(code)) => format!("{steps}\n\nIt is answered {status} {code}: {outcome}"),
        _ => format!("{steps}\n\nIt passes: {outcome}."),
    }
}
