//! `[log]`

use super::forms::one_of;
use super::problem::Complaint;
use super::section::Section;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `info,hokusai_gateway::store=debug`.
    pub level: String,
    /// Whether each request is written as a line.
    pub access: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

pub(super) fn read(section: &mut Section<'_>) -> Log {
    Log {
        format: section.text("format", "text", one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)])),
        level: section.text("level", "info", level),
        access: section.flag("access", true),
    }
}

/// A level, or several after a comma, each but one with `module=` before it. A bare word that is no level would be taken for a
/// module's name by the filter and silence all the rest: it is refused here.
fn level(text: &str) -> Result<String, Complaint> {
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !LEVELS.contains(&level) {
            return Err(Complaint::unknown("level", level, &LEVELS));
        }
    }
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Complaint::new(format!("`{text}` is no filter")).hint("write it like info,hokusai_gateway::store=debug")),
    }
}
