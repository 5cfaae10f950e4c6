//! `[usage]`: what is kept of each request, and where it waits for the store.

use std::path::PathBuf;
use std::time::Duration;

use super::forms::{positive_duration, size};
use super::problem::Complaint;
use super::section::Section;

/// `[usage]`
#[derive(Debug, Clone)]
pub struct Usage {
    pub enabled: bool,
    /// How long rows are kept; more than zero.
    pub retention: Duration,
    /// The folder of the journal and of the leases' spent parts.
    pub spool: PathBuf,
    /// At least 16 MiB.
    pub spool_max: u64,
    /// More than zero.
    pub flush_interval: Duration,
}

pub(super) fn read(section: &mut Section<'_>) -> Usage {
    let base_dir = section.reading.base_dir;
    Usage {
        enabled: section.flag("enabled", true),
        retention: section.text("retention", "30d", positive_duration),
        spool: base_dir.join(section.text("spool", "spool", folder)),
        spool_max: section.text("spool_max", "1GiB", size("16MiB"..="1024TiB")) as u64,
        flush_interval: section.text("flush_interval", "1s", positive_duration),
    }
}

fn folder(text: &str) -> Result<PathBuf, Complaint> {
    match text {
        "" => Err(Complaint::new("names no folder")),
        _ => Ok(text.into()),
    }
}
