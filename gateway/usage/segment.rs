//! A segment: one file of the journal, a head and then records, written once from start to end.
//!
//! What must stay true here: reading stops for nothing but the segment's end. A damaged record is left out; where the next one
//! cannot be found, the rest of the segment is.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{self, MAX_RECORD, Record};
use crate::model::usage_event::UsageEvent;
use crate::spool::create_private;

/// What the file is, and the version of its form.
const HEAD: [u8; 8] = *b"HKUSAGE\x01";
/// Where a segment's first record stands.
pub const START: u64 = HEAD.len() as u64;
/// Bytes read at once. More than two records, so that each reading comes further.
const CHUNK: u64 = 256 * 1024;
const _: () = assert!(CHUNK > 2 * MAX_RECORD as u64);

/// What one reading of a segment found.
#[derive(Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where to read on; the segment's end when nothing more can be read.
    pub end: u64,
    /// Records read.
    pub whole: u64,
    /// Records, or whatever stands in their place, left out.
    pub damaged: u64,
}

/// Thirteen digits, so that the names sort like the numbers, which are milliseconds since the epoch.
pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("usage-{number:013}.log"))
}

/// The numbers of the segments in the folder, the oldest first.
pub fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("usage-")?.strip_suffix(".log")?.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a new segment with nothing in it; on an error, none.
pub fn create(folder: &Path, number: u64) -> io::Result<File> {
    let path = path(folder, number);
    let mut file = create_private(&path)?;
    match file.write_all(&HEAD) {
        Ok(()) => Ok(file),
        Err(error) => {
            // Should this fail too, an empty file stays behind, which is read as a segment without records.
            std::fs::remove_file(&path).ok();
            Err(error)
        }
    }
}

/// Removes a segment. It is emptied first, so that the disk has its room back although somebody may still have it open.
pub fn remove(path: &Path) -> io::Result<()> {
    File::options().write(true).open(path)?.set_len(0)?;
    std::fs::remove_file(path)
}

/// Opens a segment for reading. `None`: a file of another form, as a later version may have left.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    if file.metadata()?.len() < START {
        return Ok(Some(file));
    }
    let mut head = HEAD;
    file.read_exact_at(&mut head, 0)?;
    Ok((head == HEAD).then_some(file))
}

/// Reads at most `max` records from `from` on; what stands at `to` and after is not there yet.
pub fn read(file: &File, from: u64, to: u64, max: u64, each: &mut dyn FnMut(&UsageEvent<'_>)) -> io::Result<Stretch> {
    let mut stretch = Stretch { end: from.max(START), whole: 0, damaged: 0 };
    let mut chunk = Vec::new();
    while stretch.end < to && stretch.whole < max {
        let size = CHUNK.min(to - stretch.end);
        chunk.resize(usize::try_from(size).expect("a chunk fits memory"), 0);
        file.read_exact_at(&mut chunk, stretch.end)?;
        stretch.take(&chunk, to, max, each);
    }
    Ok(stretch)
}

impl Stretch {
    /// Goes through what was read from `self.end` on, up to the last record that is wholly there.
    fn take(&mut self, mut bytes: &[u8], to: u64, max: u64, each: &mut dyn FnMut(&UsageEvent<'_>)) {
        let is_last = self.end + bytes.len() as u64 == to;
        while !bytes.is_empty() && self.whole < max {
            let size = match record::first(bytes) {
                Record::Whole { event, size } => {
                    each(&event);
                    self.whole += 1;
                    size
                }
                Record::Damaged { size } => {
                    self.damaged += 1;
                    size
                }
                // The chunk may have cut it.
                Record::Broken if !is_last && bytes.len() < MAX_RECORD => return,
                Record::Broken => {
                    self.damaged += 1;
                    self.end = to;
                    return;
                }
            };
            self.end += size as u64;
            bytes = &bytes[size..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::usage_event::UsageBatch;
    use crate::usage::samples::{any_event, encoded, numbers as numbers_of, only};

    /// What of a segment with these bytes after its head is read, `max` records at a time.
    fn read_all(records: &[u8], max: u64) -> (UsageBatch, u64) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = create(folder.path(), 1).unwrap();
        file.write_all(records).unwrap();
        let to = START + records.len() as u64;
        let (mut from, mut rows, mut damaged) = (0, UsageBatch::default(), 0);
        while from < to {
            let stretch = read(&file, from, to, max, &mut |event| rows.push(event)).unwrap();
            assert!(stretch.end > from, "each reading comes further");
            from = stretch.end;
            damaged += stretch.damaged;
        }
        (rows, damaged)
    }

    #[test]
    fn a_torn_last_record_is_dropped_and_the_rest_is_kept() {
        let whole = encoded(1..=3);
        for torn in 1..encoded(4..=4).len() {
            let (rows, damaged) = read_all(&encoded(1..=4)[..whole.len() + torn], 10);
            assert_eq!((numbers_of(&rows), damaged), (vec![1, 2, 3], 1), "{torn} bytes of the last");
        }
    }

    #[test]
    fn a_damaged_record_in_the_middle_costs_only_itself() {
        let mut bytes = encoded(1..=3);
        let middle = encoded(1..=1).len() + encoded(2..=2).len() / 2;
        bytes[middle] ^= 1;
        let (rows, damaged) = read_all(&bytes, 10);
        assert_eq!((numbers_of(&rows), damaged), (vec![1, 3], 1));
    }

    #[test]
    fn records_larger_than_a_chunk_together_are_all_read_in_order() {
        let bytes = encoded(0..5000);
        assert!(bytes.len() as u64 > 2 * CHUNK);
        for max in [1, 999, 10_000] {
            assert_eq!(numbers_of(&read_all(&bytes, max).0), (0..5000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_segment_of_another_form_is_left_alone_and_one_without_a_head_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"HKUSAGE\x02").unwrap();
        assert!(open(&path).unwrap().is_none());
        std::fs::write(&path, b"HKU").unwrap();
        let file = open(&path).unwrap().unwrap();
        assert_eq!(read(&file, 0, 3, 9, &mut |_| panic!("no record")).unwrap(), Stretch { end: START, whole: 0, damaged: 0 });
    }

    proptest! {
        #[test]
        fn a_damaged_segment_yields_no_record_that_was_not_written(
            rows in proptest::collection::vec(any_event(), 1..8),
            at in any::<prop::sample::Index>(),
            bits in 1_u8..,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            for row in &rows {
                record::encode(&only(row), &mut bytes);
            }
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let (read, _) = read_all(&bytes, 3);
            let mut written = rows.iter();
            prop_assert!(read.iter().all(|row| written.any(|one| only(one) == row)), "in order, each as it was written");
        }
    }
}
