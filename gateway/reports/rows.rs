//! How the rows of an export are written: as CSV (RFC 4180, with a heading) or as a line of JSON each.
//!
//! What must stay true here: no text of a client, like a method or a request's id, becomes a formula in somebody's spreadsheet.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::model::timestamp::Timestamp;
use crate::store::UsageRow;

/// How rows of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RowFormat {
    Csv,
    /// An object on each line
    Jsonl,
}

impl RowFormat {
    /// Of a file's name, without the dot.
    pub fn by_ending(ending: &str) -> Option<Self> {
        match ending {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

pub enum Rows<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Jsonl(BufWriter<W>),
}

/// The names of [`Line`]'s fields, in their order.
const HEADING: [&str; 10] = [
    "timestamp",
    "api_key_id",
    "method",
    "endpoint",
    "status_code",
    "response_time_ms",
    "request_bytes",
    "response_bytes",
    "client_ip",
    "request_id",
];

impl<W: Write> Rows<W> {
    pub fn new(format: RowFormat, to: W) -> Self {
        match format {
            RowFormat::Csv => Self::Csv(Box::new(csv::Writer::from_writer(to))),
            RowFormat::Jsonl => Self::Jsonl(BufWriter::new(to)),
        }
    }

    /// Writes what stands above the rows.
    pub fn begin(&mut self) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.write_record(HEADING).map_err(io_error),
            Self::Jsonl(_) => Ok(()),
        }
    }

    pub fn write(&mut self, row: &UsageRow) -> io::Result<()> {
        let line = Line::of(row);
        match self {
            Self::Csv(writer) => writer.write_record(line.cells().iter().map(AsRef::as_ref)).map_err(io_error),
            Self::Jsonl(writer) => {
                serde_json::to_writer(&mut *writer, &line)?;
                writer.write_all(b"\n")
            }
        }
    }

    /// All is handed over to what was written to.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Csv(writer) => writer.into_inner().map_err(csv::IntoInnerError::into_error),
            Self::Jsonl(writer) => writer.into_inner().map_err(io::IntoInnerError::into_error),
        }
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => unreachable!("every line has the cells of the heading: {other:?}"),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    api_key_id: &'a str,
    method: Option<&'a str>,
    endpoint: &'a str,
    status_code: i64,
    response_time_ms: f64,
    request_bytes: Option<u64>,
    response_bytes: Option<u64>,
    client_ip: Option<&'a str>,
    request_id: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(row: &'a UsageRow) -> Self {
        Self {
            timestamp: Timestamp::to_rfc3339(row.timestamp),
            api_key_id: &row.key_id,
            method: row.method.as_deref(),
            endpoint: &row.endpoint,
            status_code: row.status_code,
            response_time_ms: row.response_time_ms,
            request_bytes: row.request_bytes,
            response_bytes: row.response_bytes,
            client_ip: row.client_ip.as_deref(),
            request_id: row.request_id.as_deref(),
        }
    }

    /// What was not recorded is empty.
    fn cells(&self) -> [Cow<'_, str>; 10] {
        let number = |number: Option<u64>| Cow::Owned(number.map(|number| number.to_string()).unwrap_or_default());
        let text = |text: Option<&'a str>| defused(text.unwrap_or_default());
        [
            Cow::Borrowed(&self.timestamp),
            defused(self.api_key_id),
            text(self.method),
            defused(self.endpoint),
            Cow::Owned(self.status_code.to_string()),
            Cow::Owned(self.response_time_ms.to_string()),
            number(self.request_bytes),
            number(self.response_bytes),
            text(self.client_ip),
            text(self.request_id),
        ]
    }
}

/// Clients choose these texts, and a spreadsheet would carry out what begins so (OWASP, "CSV Injection").
fn defused(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => Cow::Owned(format!("'{text}")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> UsageRow {
        UsageRow {
            timestamp: Timestamp::from_millis(1_795_341_600_123),
            key_id: "key_1".to_owned(),
            method: Some("GET".to_owned()),
            endpoint: "/a,b\"c\"".to_owned(),
            status_code: 200,
            response_time_ms: 12.345,
            request_bytes: Some(0),
            response_bytes: None,
            client_ip: None,
            request_id: Some("=1+1".to_owned()),
        }
    }

    fn written(format: RowFormat, rows: &[UsageRow]) -> String {
        let mut writer = Rows::new(format, Vec::new());
        writer.begin().unwrap();
        rows.iter().try_for_each(|row| writer.write(row)).unwrap();
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_row_of_csv_is_quoted_where_it_has_to_be_and_no_formula() {
        let text = written(RowFormat::Csv, &[row()]);
        assert_eq!(
            text,
            "timestamp,api_key_id,method,endpoint,status_code,response_time_ms,request_bytes,response_bytes,client_ip,request_id\n\
             2026-11-22T10:00:00.123+00:00,key_1,GET,\"/a,b\"\"c\"\"\",200,12.345,0,,,'=1+1\n"
        );
    }

    #[test]
    fn a_row_of_json_is_a_line_with_the_names_of_the_heading_and_the_texts_as_they_are() {
        let text = written(RowFormat::Jsonl, &[row(), row()]);
        assert_eq!(text.lines().count(), 2);
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let mut names = HEADING.to_vec();
        names.sort_unstable();
        assert_eq!(line.keys().collect::<Vec<_>>(), names);
        assert_eq!((&line["request_id"], &line["client_ip"]), (&"=1+1".into(), &serde_json::Value::Null));
    }

    #[test]
    fn without_rows_there_is_the_heading_alone() {
        assert_eq!(written(RowFormat::Csv, &[]).lines().count(), 1);
        assert_eq!(written(RowFormat::Jsonl, &[]), "");
    }

    #[test]
    fn whatever_begins_a_formula_is_defused_and_nothing_else_is_touched() {
        for formula in ["=cmd", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(defused(formula), format!("'{formula}"));
        }
        for harmless in ["", "/=1", "GET", "a-b", "203.0.113.7"] {
            assert_eq!(defused(harmless), harmless);
        }
    }
}
