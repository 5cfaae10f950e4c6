//! `schema`

use super::Common;
use super::output::Output;
use crate::config;

pub const NOTES: &str = "\
Example, for editors that read TOML with Taplo, like VS Code with Even Better
TOML: a first line in gateway.toml names the file that this writes.
  hokusai-gateway schema > gateway.schema.json
  #:schema ./gateway.schema.json";

/// For people indented, for programs on one line.
pub fn run(common: &Common) -> anyhow::Result<()> {
    let schema = config::schema();
    Output::new(common.json).print(&schema, || format!("{schema:#}"))
}
