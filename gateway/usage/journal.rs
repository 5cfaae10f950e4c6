//! The writing end of the journal: records go to the newest segment, and room is made where there is none.
//!
//! What must stay true here: a segment ends with a whole record as far as the backlog knows it, whatever a write did; nothing
//! is given up without being counted; an error costs records, never the gateway.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backlog::Backlog;
use super::segment::{self, START};
use super::sync::Syncer;
use crate::clock;

/// Bytes of a segment, unless `usage.spool_max` asks for smaller ones. Also what is dropped at once when there is no room.
const SEGMENT_MAX: u64 = 8 * 1024 * 1024;
/// Segments that `usage.spool_max` holds at least, so that the oldest one is a small part.
const SEGMENTS_MIN: u64 = 16;

#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    folder_file: Arc<File>,
    backlog: Arc<Backlog>,
    syncer: Syncer,
    spool_max: u64,
    segment_max: u64,
    newest: Option<Newest>,
}

#[derive(Debug)]
struct Newest {
    number: u64,
    file: Arc<File>,
    end: u64,
}

impl Journal {
    /// Begins a new segment: an older one may have been cut off by a crash. `spool_max` is in bytes.
    pub fn open(folder: &Path, spool_max: u64, backlog: Arc<Backlog>) -> io::Result<Self> {
        let mut journal = Self {
            folder: folder.to_owned(),
            folder_file: Arc::new(File::open(folder)?),
            backlog,
            syncer: Syncer::start()?,
            spool_max,
            segment_max: SEGMENT_MAX.min(spool_max / SEGMENTS_MIN),
            newest: None,
        };
        match journal.begin_segment() {
            Err(error) if !is_for_want_of_room(&error) => Err(error),
            _ => Ok(journal),
        }
    }

    /// Hands whole records to the kernel. What cannot be written is counted as dropped.
    pub fn append(&mut self, bytes: &[u8], records: u64) {
        let size = bytes.len() as u64;
        while self.backlog.size() + size > self.spool_max && self.backlog.drop_oldest(&"usage.spool_max is reached") {}
        loop {
            let error = match self.write(bytes) {
                Ok(number) => return self.backlog.grown(number, size, records),
                Err(error) => error,
            };
            if !is_for_want_of_room(&error) || !self.backlog.drop_oldest(&error) {
                return self.backlog.lost(records, &error);
            }
        }
    }

    /// Returns the number of the segment written to.
    fn write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let size = bytes.len() as u64;
        let is_usable = |newest: &Newest| {
            let has_room = newest.end == START || newest.end + size <= self.segment_max;
            has_room && self.backlog.is_newest(newest.number)
        };
        if !self.newest.as_ref().is_some_and(is_usable) {
            self.begin_segment()?;
        }
        let newest = self.newest.as_mut().expect("a segment has begun");
        if let Err(error) = newest.file.write_all_at(bytes, newest.end) {
            // A part may have been written. Nothing follows it: the next write goes to a new segment.
            newest.file.set_len(newest.end).ok();
            self.newest = None;
            return Err(error);
        }
        newest.end += size;
        self.syncer.changed(&newest.file);
        Ok(newest.number)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        self.newest = None;
        let number = self.backlog.next_number(clock::now());
        let file = Arc::new(segment::create(&self.folder, number)?);
        self.backlog.begun(number);
        self.syncer.changed(&file);
        self.syncer.changed(&self.folder_file);
        self.newest = Some(Newest { number, file, end: START });
        Ok(())
    }
}

/// Errors that go away when older segments do.
fn is_for_want_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests;
