//! The file `leases` of the spool folder: how far each lease may have been spent, for when the process is killed.
//!
//! What must stay true here:
//! - A portion stands in the file before its first permit is spent. A lease the file does not name was never spent from.
//! - A slot belongs to one cell until the end of its lease was confirmed, so nothing overwrites what is still needed.
//! - Requests only overwrite blocks that the file has already, which a full disk allows. It grows between requests, and where it
//!   cannot, there is no slot and the lease is taken under no name: nobody will take it for unspent.
//! - It guards against the end of the process, not of the machine: nothing here waits for the disk.
//!
//! A slot is 32 bytes, little-endian: lease (8), opened (8), CRC-32 of both (4), zeros. All zeros: never used.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::lease::Portion;
use crate::model::lease::{Grant, LeaseId, LeaseReport, Report};

const SLOT_BYTES: usize = 32;
/// Slots added at once: a page.
const SLOTS_PER_PAGE: u32 = 128;

#[derive(Debug)]
pub struct LeaseFile {
    file: File,
    slots: Mutex<Slots>,
    failing: AtomicBool,
    has_complained: AtomicBool,
}

#[derive(Debug, Default)]
struct Slots {
    len: u32,
    free: Vec<u32>,
}

/// A place in the file. Free for others when dropped.
#[derive(Debug)]
pub struct Slot {
    file: Arc<LeaseFile>,
    index: u32,
}

/// What a process that was killed left in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOver {
    opened: HashMap<LeaseId, u64>,
    /// Some slot cannot be read, so a lease that is not named may have been spent all the same.
    is_damaged: bool,
}

impl LeaseFile {
    /// Opens or makes the file (mode 0600). What it holds stays until [`clear`](Self::clear).
    pub fn open(folder: &Path) -> io::Result<(Arc<Self>, LeftOver)> {
        let path = folder.join("leases");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let left_over = LeftOver::read(&std::fs::read(&path)?);
        Ok((Self::new(file), left_over))
    }

    pub(super) fn new(file: File) -> Arc<Self> {
        let (slots, failing, has_complained) = Default::default();
        Arc::new(Self { file, slots, failing, has_complained })
    }

    /// After what was left over is settled, and before the first slot is reserved.
    pub fn clear(&self) {
        if let Err(error) = self.file.set_len(0) {
            self.complain(&error);
        }
    }

    /// `None` while the file cannot be written.
    pub fn reserve(self: &Arc<Self>) -> Option<Slot> {
        if self.is_failing() {
            return None;
        }
        let mut slots = self.slots();
        if slots.free.is_empty() {
            let page = [0; SLOT_BYTES * SLOTS_PER_PAGE as usize];
            self.write(&page, slots.len)?;
            let first = slots.len;
            slots.len += SLOTS_PER_PAGE;
            let added = first..slots.len;
            slots.free.extend(added.rev());
        }
        let index = slots.free.pop().expect("a page of slots was added just now");
        Some(Slot { file: Arc::clone(self), index })
    }

    /// Whether the last write failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Lets the next lease try again.
    pub fn retry(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }

    fn write(&self, bytes: &[u8], slot: u32) -> Option<()> {
        let written = self.file.write_all_at(bytes, u64::from(slot) * SLOT_BYTES as u64);
        written.inspect_err(|error| self.complain(error)).ok()
    }

    fn complain(&self, error: &io::Error) {
        self.failing.store(true, Ordering::Relaxed);
        if !self.has_complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the file `leases` of the spool cannot be written ({error}): until it can, a gateway that is killed takes what it \
                 holds on lease with it, up to 1 % of each limit in use"
            );
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("nothing panics while it holds the slots")
    }
}

impl Slot {
    /// `None`: it may not stand there, and must not be spent.
    pub fn write(&self, portion: Portion) -> Option<()> {
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(&portion.lease.number().to_le_bytes());
        slot[8..16].copy_from_slice(&portion.upto.to_le_bytes());
        let checksum = crc32fast::hash(&slot[..16]);
        slot[16..20].copy_from_slice(&checksum.to_le_bytes());
        self.file.write(&slot, self.index)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.file.slots().free.push(self.index);
    }
}

impl LeftOver {
    /// How a lease of this spool ended: the most that can have been spent of it was.
    pub fn end_of(&self, lease: &Grant) -> Report {
        let end = LeaseReport { id: lease.id, spent: self.spent_of(lease), finished: true };
        Report { lease: Some(end), debt: None }
    }

    fn spent_of(&self, lease: &Grant) -> u64 {
        let unnamed = if self.is_damaged { lease.permits } else { 0 };
        self.opened.get(&lease.id).copied().unwrap_or(unnamed).min(lease.permits)
    }

    fn read(bytes: &[u8]) -> Self {
        let mut left_over = Self::default();
        for slot in bytes.chunks(SLOT_BYTES).filter(|slot| slot.iter().any(|byte| *byte != 0)) {
            match read_slot(slot) {
                Some(portion) => {
                    let opened = left_over.opened.entry(portion.lease).or_default();
                    *opened = portion.upto.max(*opened);
                }
                None => left_over.is_damaged = true,
            }
        }
        left_over
    }
}

fn read_slot(slot: &[u8]) -> Option<Portion> {
    let (lease, rest) = slot.split_first_chunk()?;
    let (upto, rest) = rest.split_first_chunk()?;
    let checksum = u32::from_le_bytes(*rest.first_chunk()?);
    let is_whole = crc32fast::hash(&slot[..16]) == checksum;
    is_whole.then(|| Portion { lease: LeaseId::from_number(u64::from_le_bytes(*lease)), upto: u64::from_le_bytes(*upto) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(id: u64) -> Grant {
        Grant { id: LeaseId::from_number(id), permits: 10 }
    }

    fn portion(id: u64, upto: u64) -> Portion {
        Portion { lease: LeaseId::from_number(id), upto }
    }

    #[test]
    fn what_was_opened_is_found_again_and_what_was_not_is_unspent() {
        let folder = tempfile::tempdir().unwrap();
        let (file, left_over) = LeaseFile::open(folder.path()).unwrap();
        assert_eq!(left_over, LeftOver::default());
        let slots: Vec<Slot> = (0..300).map(|_| file.reserve().unwrap()).collect();
        slots[0].write(portion(7, 1)).unwrap();
        slots[0].write(portion(7, 3)).unwrap();
        slots[299].write(portion(8, 99)).unwrap();
        let (_, left_over) = LeaseFile::open(folder.path()).unwrap();
        assert_eq!(left_over.spent_of(&grant(7)), 3);
        assert_eq!(left_over.spent_of(&grant(8)), 10, "never more than the lease");
        assert_eq!(left_over.spent_of(&grant(9)), 0);
    }

    #[test]
    fn a_slot_is_given_to_one_at_a_time_and_again_when_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = LeaseFile::open(folder.path()).unwrap();
        let (first, second) = (file.reserve().unwrap(), file.reserve().unwrap());
        assert_ne!(first.index, second.index);
        let index = first.index;
        drop(first);
        assert_eq!(file.reserve().unwrap().index, index);
    }

    #[test]
    fn a_damaged_slot_makes_every_lease_that_is_not_named_count_as_spent() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = LeaseFile::open(folder.path()).unwrap();
        let (first, second) = (file.reserve().unwrap(), file.reserve().unwrap());
        first.write(portion(7, 3)).unwrap();
        second.write(portion(8, 3)).unwrap();
        let whole = std::fs::read(folder.path().join("leases")).unwrap();
        let (mut flipped, torn) = (whole.clone(), &whole[..SLOT_BYTES + 12]);
        flipped[SLOT_BYTES + 9] ^= 1;
        for damaged in [&flipped, torn] {
            let left_over = LeftOver::read(damaged);
            assert_eq!(left_over.spent_of(&grant(7)), 3);
            assert_eq!(left_over.spent_of(&grant(8)), 10);
        }
        assert_eq!(LeftOver::read(&whole).spent_of(&grant(9)), 0);
    }

    #[test]
    fn a_full_disk_gives_no_slots_until_it_is_tried_again() {
        let file = LeaseFile::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
        assert!(file.reserve().is_none());
        assert!(file.is_failing());
        file.retry();
        assert!(!file.is_failing());
        assert!(file.reserve().is_none());
        assert!(file.is_failing());
    }

    #[test]
    fn a_cleared_file_names_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = LeaseFile::open(folder.path()).unwrap();
        file.reserve().unwrap().write(portion(7, 3)).unwrap();
        let (file, _) = LeaseFile::open(folder.path()).unwrap();
        file.clear();
        assert_eq!(LeaseFile::open(folder.path()).unwrap().1, LeftOver::default());
    }
}
