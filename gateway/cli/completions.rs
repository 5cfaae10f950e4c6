//! `completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde::Serialize;

use super::output::Output;
use super::{CommandLine, Common};

pub const NOTES: &str = "\
Where a shell looks for them:
  hokusai-gateway completions bash > /etc/bash_completion.d/hokusai-gateway
  hokusai-gateway completions zsh > /usr/local/share/zsh/site-functions/_hokusai-gateway
  hokusai-gateway completions fish > ~/.config/fish/completions/hokusai-gateway.fish";

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &CompletionsArgs, common: &Common) -> anyhow::Result<()> {
    let (mut command, mut script) = (CommandLine::command(), Vec::new());
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let script = String::from_utf8(script)?;
    let answer = Completions { shell: args.shell.to_string(), script: &script };
    Output::new(common.json).print(&answer, || script.clone())
}

#[derive(Serialize)]
struct Completions<'a> {
    shell: String,
    script: &'a str,
}
