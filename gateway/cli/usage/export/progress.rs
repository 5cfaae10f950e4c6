//! How far an export is: by the time of its rows, so that nobody has to count them beforehand.

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::model::timestamp::Timestamp;
use crate::store::{UsageFilter, UsageRow};

/// Shown where stderr is a terminal only.
pub struct Progress {
    bar: ProgressBar,
    first: Option<Timestamp>,
    until: Timestamp,
    rows: u64,
}

impl Progress {
    pub fn new(filter: &UsageFilter) -> Self {
        Self::shown_by(ProgressBar::no_length().with_style(style()), filter)
    }

    /// Where the rows themselves are shown.
    pub fn hidden(filter: &UsageFilter) -> Self {
        Self::shown_by(ProgressBar::hidden(), filter)
    }

    fn shown_by(bar: ProgressBar, filter: &UsageFilter) -> Self {
        Self { bar, first: None, until: filter.until, rows: 0 }
    }

    /// The next rows were written.
    pub fn advance(&mut self, page: &[UsageRow]) {
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            return;
        };
        let first = *self.first.get_or_insert(first.timestamp);
        self.rows += page.len() as u64;
        self.bar.set_length(self.until.since(first).as_secs());
        self.bar.set_position(last.timestamp.since(first).as_secs());
        self.bar.set_message(HumanCount(self.rows).to_string());
    }

    /// Returns how many rows there were.
    pub fn finish(self) -> u64 {
        self.bar.finish_and_clear();
        self.rows
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("exporting usage {wide_bar} {percent}% {msg} rows, {eta} to go")
        .expect("the template is well-formed")
}
