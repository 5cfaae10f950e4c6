//! What the journal holds and the store does not have yet: the list of segments, shared by the one who writes and the one who reads.
//!
//! What must stay true here: a record that entered the journal leaves it once, as delivered or as dropped. Segments go from the
//! oldest on, and the newest is not removed for having been delivered, so that their numbers only grow.

mod waiting;

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use self::waiting::{Segment, State};
use super::losses::Losses;
use super::segment::{self, START, Stretch};
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::{UsageBatch, UsageEvent};
use crate::observe::metrics::Metrics;
use crate::store::JournalPosition;

/// Before anything a journal may hold.
pub const OLDEST: JournalPosition = JournalPosition { segment: 0, offset: 0 };
/// Waiting records that are worth waking the reader for before its time.
const MUCH: u64 = 5_000;

#[derive(Debug)]
pub struct Backlog {
    folder: PathBuf,
    metrics: Arc<Metrics>,
    losses: Losses,
    state: Mutex<State>,
    much: Notify,
    /// The room of a batch that was delivered, for the next one.
    spare: Mutex<UsageBatch>,
}

/// Records on their way to the store.
#[derive(Clone, Debug)]
pub struct Batch {
    pub rows: Arc<UsageBatch>,
    /// Where the store stands with these.
    pub end: JournalPosition,
}

impl Backlog {
    /// Counts what is left in the folder from earlier.
    pub fn open(folder: &Path, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let losses = Losses::new(metrics.clone());
        let mut segments = VecDeque::new();
        for number in segment::numbers(folder)? {
            let path = segment::path(folder, number);
            let Some(file) = segment::open(&path)? else {
                tracing::warn!(file = %path.display(), "not a usage journal of this version: left alone");
                continue;
            };
            let end = file.metadata()?.len();
            let Stretch { whole, damaged, .. } = segment::read(&file, START, end, u64::MAX, &mut |_| {})?;
            losses.count(damaged, &format_args!("{} is damaged or was not written to its end", path.display()));
            segments.push_back(Segment { number, end, records: whole, passed: 0 });
        }
        let last_number = segments.back().map_or(0, |newest| newest.number);
        let backlog = Self {
            folder: folder.to_owned(),
            metrics: metrics.clone(),
            losses,
            state: Mutex::new(State { segments, taken: 0, last_number }),
            much: Notify::new(),
            spare: Mutex::default(),
        };
        backlog.change(|_| {});
        Ok(backlog)
    }

    /// The number of a segment made at `now`. Greater than all before, even should the folder have been emptied since.
    pub fn next_number(&self, now: Timestamp) -> u64 {
        self.change(|state| {
            state.last_number = now.as_millis().max(state.last_number + 1);
            state.last_number
        })
    }

    pub fn begun(&self, number: u64) {
        self.change(|state| state.segments.push_back(Segment { number, end: START, records: 0, passed: 0 }));
    }

    /// Whether a segment may be written to: the list is the truth, and nothing is written that it does not tell the reader of.
    pub fn is_newest(&self, number: u64) -> bool {
        self.change(|state| state.segments.back().is_some_and(|newest| newest.number == number))
    }

    /// A segment was written to.
    pub fn grown(&self, number: u64, bytes: u64, records: u64) {
        let waiting = self.change(|state| {
            let segment = state.find(number)?;
            segment.end += bytes;
            segment.records += records;
            Some(state.waiting())
        });
        match waiting {
            Some(waiting) if waiting >= MUCH => self.much.notify_one(),
            Some(_) => {}
            None => self.losses.count(records, &"the journal was removed while it was written"),
        }
    }

    /// Returns when enough waits to be worth a batch.
    pub async fn much(&self) {
        self.much.notified().await;
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.change(|state| state.segments.iter().map(|segment| segment.end).sum())
    }

    /// Records that are not in the store.
    pub fn undelivered(&self) -> u64 {
        self.change(|state| state.undelivered())
    }

    /// Removes the oldest segment, delivered or not, and the empty ones before it. False: there was none but those, which gave no room.
    pub fn drop_oldest(&self, why: &dyn Display) -> bool {
        while let Some(oldest) = self.change(|state| state.segments.pop_front()) {
            self.losses.count(oldest.waiting(), why);
            self.remove_file(oldest.number);
            if oldest.end > START {
                return true;
            }
        }
        false
    }

    /// Records that came to nothing outside the segments.
    pub fn lost(&self, records: u64, why: &dyn Display) {
        self.losses.count(records, why);
    }

    /// Leaves out what the store has, by its own account. Returns where to read from.
    pub fn resume(&self, position: JournalPosition) -> io::Result<JournalPosition> {
        let newest = self.change(|state| state.last_number);
        if position.segment > newest {
            tracing::warn!(?position, newest, "the store knows a later journal of this spool: all that is here is delivered");
            return Ok(OLDEST);
        }
        // Power may have failed before the disk had all that the store already had.
        let upto = self.change(|state| state.find(position.segment).map(|segment| segment.end.min(position.offset)));
        let passed = match upto {
            Some(upto) => match self.read(position.segment, START, upto, u64::MAX, &mut |_| {}) {
                Err(error) if is_gone(&error) => 0,
                stretch => stretch?.whole,
            },
            None => 0,
        };
        self.change(|state| {
            state.taken = 0;
            state.find(position.segment).map(|segment| segment.passed = passed.min(segment.records))
        });
        self.remove_before(position);
        Ok(position)
    }

    /// At most `max` records from `from` on, of one segment, without those of before `since`. `None`: there are no more, and what
    /// was spare is given back.
    pub fn take(&self, mut from: JournalPosition, max: u64, since: Timestamp) -> io::Result<Option<Batch>> {
        let mut rows = std::mem::take(&mut *self.spare());
        while let Some((number, start, end)) = self.after(from) {
            rows.clear();
            let mut each = |event: &UsageEvent<'_>| {
                if event.timestamp >= since {
                    rows.push(event);
                }
            };
            match self.read(number, start, end, max, &mut each) {
                Ok(stretch) => {
                    from = JournalPosition { segment: number, offset: stretch.end };
                    if self.took(from, stretch.whole) && stretch.whole > 0 {
                        rows.sort();
                        return Ok(Some(Batch { rows: Arc::new(rows), end: from }));
                    }
                }
                Err(error) if is_gone(&error) => self.give_up(number, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The batch that was taken is in the store; what it lacks of the records was too old for it.
    pub fn delivered(&self, batch: Batch) {
        let taken = self.change(|state| std::mem::take(&mut state.taken));
        let written = batch.rows.len() as u64;
        self.metrics.usage_written.add(written);
        self.losses.count(taken.saturating_sub(written), &"they are older than usage.retention");
        self.remove_before(batch.end);
        if let Ok(rows) = Arc::try_unwrap(batch.rows) {
            *self.spare() = rows;
        }
    }

    /// The first stretch with something to read at or after a place: number, start, end.
    fn after(&self, place: JournalPosition) -> Option<(u64, u64, u64)> {
        let start_in = |number| if number == place.segment { place.offset.max(START) } else { START };
        self.change(|state| {
            let mut later = state.segments.iter().filter(|segment| segment.number >= place.segment);
            let segment = later.find(|segment| start_in(segment.number) < segment.end)?;
            Some((segment.number, start_in(segment.number), segment.end))
        })
    }

    fn read(&self, number: u64, from: u64, to: u64, max: u64, each: &mut dyn FnMut(&UsageEvent<'_>)) -> io::Result<Stretch> {
        let file = segment::open(&segment::path(&self.folder, number))?.ok_or(io::ErrorKind::NotFound)?;
        segment::read(&file, from, to, max, each)
    }

    /// Notes what was read up to a place. False: the segment was dropped meanwhile, and its records are counted as such.
    fn took(&self, upto: JournalPosition, records: u64) -> bool {
        let missing = self.change(|state| {
            let segment = state.find(upto.segment)?;
            segment.passed = segment.records.min(segment.passed + records);
            let missing = if upto.offset >= segment.end { segment.waiting() } else { 0 };
            segment.passed += missing;
            state.taken = records;
            Some(missing)
        });
        self.losses.count(missing.unwrap_or(0), &"the journal was damaged on disk");
        missing.is_some()
    }

    /// A segment that is not there any more, or not whole.
    fn give_up(&self, number: u64, error: &io::Error) {
        let lost = self.change(|state| {
            let at = state.segments.iter().position(|segment| segment.number == number)?;
            state.segments.remove(at)
        });
        let path = segment::path(&self.folder, number);
        self.losses.count(lost.map_or(0, |segment| segment.waiting()), &format_args!("{}: {error}", path.display()));
    }

    fn remove_before(&self, place: JournalPosition) {
        let is_done =
            |segment: &Segment| segment.number < place.segment || segment.number == place.segment && segment.end <= place.offset;
        while let Some(done) = self.change(|state| {
            let has_newer = state.segments.len() > 1;
            state.segments.pop_front_if(|oldest| has_newer && is_done(oldest))
        }) {
            self.remove_file(done.number);
        }
    }

    fn remove_file(&self, number: u64) {
        let path = segment::path(&self.folder, number);
        if let Err(error) = segment::remove(&path) {
            tracing::warn!(file = %path.display(), %error, "a usage journal that is done with cannot be removed");
        }
    }

    fn spare(&self) -> MutexGuard<'_, UsageBatch> {
        self.spare.lock().expect("no panic while it is held")
    }

    /// The one way to the state, so that the gauge tells what it holds.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().expect("no panic while it is held");
        let result = change(&mut state);
        self.metrics.usage_spooled.set(state.undelivered());
        result
    }
}

/// Unlike errors that may pass, as when too many files are open.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}
