//! What waits: the segments, and how many records of each are not in the store.
//!
//! What must stay true here: a record that was passed is not waiting; one that was taken waits no more and is still undelivered.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub struct State {
    /// The oldest first. The last may be growing.
    pub segments: VecDeque<Segment>,
    /// Records in the batch that is on its way to the store.
    pub taken: u64,
    /// Of the newest segment there ever was here.
    pub last_number: u64,
}

#[derive(Debug)]
pub struct Segment {
    pub number: u64,
    /// In bytes.
    pub end: u64,
    /// Records written to it.
    pub records: u64,
    /// Those of them that are no longer waiting: taken, delivered or known to be damaged.
    pub passed: u64,
}

impl Segment {
    pub fn waiting(&self) -> u64 {
        self.records - self.passed
    }
}

impl State {
    pub fn waiting(&self) -> u64 {
        self.segments.iter().map(Segment::waiting).sum()
    }

    pub fn undelivered(&self) -> u64 {
        self.waiting() + self.taken
    }

    pub fn find(&mut self, number: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.number == number)
    }
}
