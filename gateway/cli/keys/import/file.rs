//! The rows of a file, each with its line.
//!
//! What must stay true here: a row that cannot be read is a fault of its line and hides no other; no fault tells what stands in it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use csv::ByteRecord;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::keyring::import::{FIELDS, Fields, Import};
use crate::reports::rows::RowFormat;

/// What some programs put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// # Errors
/// The file cannot be read.
pub fn read(path: &Path, format: RowFormat, into: &mut Import) -> io::Result<()> {
    let mut text = Zeroizing::new(Vec::new());
    match path == Path::new("-") {
        true => io::stdin().lock().read_to_end(&mut text)?,
        false => File::open(path)?.read_to_end(&mut text)?,
    };
    let rows = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
    match format {
        RowFormat::Csv => csv(rows, into)?,
        RowFormat::Jsonl => jsonl(rows, into),
    }
    if into.is_empty() {
        into.add_fault(1, "there is no key".to_owned());
    }
    Ok(())
}

fn jsonl(text: &[u8], into: &mut Import) {
    for (line, row) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        if row.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(row) {
            Ok(Value::Object(fields)) => into.add(line, fields),
            Ok(_) => into.add_fault(line, "must be a JSON object".to_owned()),
            Err(error) => into.add_fault(line, format!("is no JSON from column {} on", error.column())),
        }
    }
}

fn csv(text: &[u8], into: &mut Import) -> io::Result<()> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let (mut record, mut lines) = (ByteRecord::new(), Lines::of(text));
    let mut heading: Option<Vec<String>> = None;
    while reader.read_byte_record(&mut record)? {
        let line = lines.at(record.position().map_or(0, csv::Position::byte));
        match &heading {
            Some(names) => match fields(names, &record) {
                Ok(fields) => into.add(line, fields),
                Err(says) => into.add_fault(line, says),
            },
            None => match names(&record) {
                Ok(names) => heading = Some(names),
                // No row means anything without it.
                Err(says) => {
                    into.add_fault(line, says);
                    break;
                }
            },
        }
    }
    Ok(())
}

/// Where rows begin. The reader's own count is one behind after each `\r\n`, and stops before empty lines.
struct Lines<'t> {
    text: &'t [u8],
    counted: usize,
    line: u64,
}

impl<'t> Lines<'t> {
    fn of(text: &'t [u8]) -> Self {
        Self { text, counted: 0, line: 1 }
    }

    /// Of the row that is read from this byte on, which comes after those asked for before.
    fn at(&mut self, byte: u64) -> u64 {
        let from = usize::try_from(byte).unwrap_or(usize::MAX).min(self.text.len());
        let empty = self.text[from..].iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
        let passed = &self.text[self.counted..from + empty];
        self.counted = from + empty;
        self.line += passed.split(|&byte| byte == b'\n').skip(1).count() as u64;
        self.line
    }
}

/// # Errors
/// What is wrong with the heading.
fn names(record: &ByteRecord) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for (column, name) in (1..).zip(record) {
        let name = name.trim_ascii().to_ascii_lowercase();
        match FIELDS.iter().find(|known| known.as_bytes() == name) {
            None => return Err(format!("column {column} of the heading is not known; known are {}", FIELDS.join(", "))),
            Some(known) if names.iter().any(|name| name == known) => return Err(format!("column {known} is there twice")),
            Some(known) => names.push((*known).to_owned()),
        }
    }
    Ok(names)
}

fn fields(names: &[String], record: &ByteRecord) -> Result<Fields, String> {
    if record.len() != names.len() {
        return Err(format!("has {} fields where the heading has {}", record.len(), names.len()));
    }
    let text = |(name, value): (&String, &[u8])| match str::from_utf8(value) {
        Ok(text) => Ok((name.clone(), Value::from(text))),
        Err(_) => Err(format!("{name}: is not in UTF-8")),
    };
    names.iter().zip(record).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::import::{Defaults, Fault};
    use crate::store::testing::NOW;

    const KEY: &str = "a-key-from-elsewhere-1";

    /// How many keys were read, and what was wrong in which line.
    fn read(text: &str, format: RowFormat) -> (usize, Vec<Fault>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, text).unwrap();
        let defaults = Defaults { user_id: Some("ann".into()), rate_limit_per_hour: Some(7), prefix: "hk".to_owned(), now: NOW };
        let mut import = Import::new(defaults);
        super::read(&path, format, &mut import).unwrap();
        (import.len(), import.into_faults())
    }

    fn lines(faults: &[Fault]) -> Vec<u64> {
        faults.iter().map(|fault| fault.line).collect()
    }

    #[test]
    fn a_row_that_cannot_be_read_is_told_by_its_line_and_hides_no_other() {
        let csv = format!("\u{feff}Key, name\r\n{KEY},\"over\n two lines\"\n\r\n{KEY}2,b\r\n{KEY}3\r\n{KEY}4,a,b\n{KEY}5,d");
        let (read_keys, faults) = read(&csv, RowFormat::Csv);
        assert_eq!((read_keys, lines(&faults)), (2, vec![2, 6, 7]), "{faults:?}");
        let jsonl = format!("{{\"key\":\"{KEY}\"}}\n\n[]\n{{\"key\":\n{{\"key\":\"{KEY}2\"}}");
        let (read_keys, faults) = read(&jsonl, RowFormat::Jsonl);
        assert_eq!((read_keys, lines(&faults)), (2, vec![3, 4]), "{faults:?}");
    }

    #[test]
    fn without_a_heading_nothing_is_read_and_the_key_in_its_place_is_not_told() {
        for text in [format!("{KEY},ann\n{KEY}2,bob"), format!("key,{KEY}\n"), "key,key\n".to_owned()] {
            let (read_keys, faults) = read(&text, RowFormat::Csv);
            assert_eq!((read_keys, lines(&faults)), (0, vec![1]));
            assert!(!faults[0].says.contains(KEY), "{faults:?}");
        }
    }

    #[test]
    fn a_file_without_keys_is_wrong() {
        for (text, format) in [("", RowFormat::Csv), ("key\n", RowFormat::Csv), ("\n", RowFormat::Jsonl)] {
            assert_eq!(read(text, format).1[0].says, "there is no key");
        }
    }
}
