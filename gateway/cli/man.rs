//! `man`: pages made of what the command line says of itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use serde::Serialize;

use super::output::{Output, counted};
use super::{CommandLine, Common};

pub const EXAMPLE: &str = "Example:\n  hokusai-gateway man --output /usr/local/share/man/man1";

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder to write them to, made if it is not there
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
}

pub fn run(args: &ManArgs, common: &Common) -> anyhow::Result<()> {
    let folder = &args.output;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut command = CommandLine::command().disable_help_subcommand(true);
    command.build();
    let pages = write_pages(&command, folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    let written = Written { folder, pages };
    Output::new(common.json)
        .print(&written, || format!("Wrote {} to {}.", counted(written.pages.len() as u64, "manual page"), folder.display()))
}

#[derive(Serialize)]
struct Written<'a> {
    folder: &'a Path,
    pages: Vec<String>,
}

/// Of the command and of all below it. Returns their names.
fn write_pages(command: &Command, folder: &Path) -> io::Result<Vec<String>> {
    let page = Man::new(command.clone());
    let name = page.get_filename();
    fs::write(folder.join(&name), text(command, &page)?)?;
    let mut names = vec![name];
    for below in command.get_subcommands() {
        names.extend(write_pages(below, folder)?);
    }
    Ok(names)
}

fn text(command: &Command, page: &Man) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(notes) = command.get_after_help() {
        text.extend(notes_section(&notes.to_string()).bytes());
    }
    Ok(text)
}

/// Line by line as it was written: it holds examples.
fn notes_section(notes: &str) -> String {
    let line = |line: &str| format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq"));
    format!(".SH NOTES\n.nf\n{}.fi\n", notes.lines().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_notes_stays_a_line_and_is_no_request_to_the_formatter() {
        assert_eq!(notes_section("a\n  .b -c '\\n'"), ".SH NOTES\n.nf\n\\&a\n\\&  .b \\-c \\(aq\\en\\(aq\n.fi\n");
    }
}
