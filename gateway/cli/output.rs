//! What a command prints on stdout: one JSON text for programs, or a text for people.

use std::io::{self, Write};

use anyhow::Context;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::model::timestamp::Timestamp;

#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints `answer` as one line of JSON, or the text that says the same to people.
    pub fn print(self, answer: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let line = match self.json {
            true => serde_json::to_string(answer).context("cannot write the answer as JSON")?,
            false => text(),
        };
        match writeln!(io::stdout(), "{}", line.trim_end()) {
            // Whoever reads has seen enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to stdout"),
        }
    }
}

/// Columns under a heading. No line is wrapped, so that an id can be copied and a pipe sees one row on one line.
pub fn table<const COLUMNS: usize>(heading: [&str; COLUMNS], rows: impl IntoIterator<Item = [String; COLUMNS]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heading);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| printable(&cell))));
    flush_left(table)
}

/// Names and values below each other.
pub fn fields<const ROWS: usize>(rows: [(&str, String); ROWS]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(rows.map(|(name, value)| [name.to_owned(), printable(&value)]));
    flush_left(table)
}

/// To the second, UTC, for people. Programs get RFC 3339.
pub fn time(instant: Timestamp) -> String {
    instant.to_sql_text()[..19].to_owned()
}

pub fn time_or(instant: Option<Timestamp>, none: &str) -> String {
    instant.map_or_else(|| none.to_owned(), time)
}

/// To a tenth.
pub fn milliseconds(milliseconds: f64) -> String {
    format!("{milliseconds:.1}")
}

/// `1 row`, `2 rows`
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Names can reach the tables by plain SQL: one that holds control characters must not drive the operator's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }).collect()
}

fn flush_left(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        let text = table(["NAME"], [["\u{1b}[2Jgone\nnext".to_owned()]]);
        assert_eq!(text, "NAME\n\u{fffd}[2Jgone\u{fffd}next");
    }

    #[test]
    fn a_row_stays_on_its_line_and_columns_stand_below_each_other() {
        let text = table(["ID", "NAME"], [["key_1".into(), "a".repeat(300)], ["k".into(), "b".into()]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((lines[0], lines[2]), ("ID     NAME", "k      b"));
    }
}
