//! Looks at the frames that a client sends as they go by: how long a head has been coming, and how many frames ask for nothing.
//!
//! What must stay true here: nothing is judged but the nine bytes before each frame (RFC 9113 4.1). Whether frames are valid is
//! told by who takes them in turn.

use std::time::{Duration, Instant};

use super::PREFACE;

/// Frames without a purpose of their own that may come at once. Envoy's and nginx's bounds are of this size.
const BURST: u32 = 1000;
/// And how many more each second.
const PER_SECOND: u32 = 100;

/// Kinds of frames (RFC 9113 6).
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

pub struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    header: [u8; 9],
    /// How much of `header` has come.
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    payload: usize,
    /// A head has begun, and its last frame has not ended.
    in_head: bool,
    /// This frame is the last of its head.
    ends_head: bool,
    allowance: u32,
    refilled: Instant,
}

/// More frames that ask for nothing than anybody needs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a flood of frames that ask for nothing")]
pub struct Flood;

impl Frames {
    pub fn new(now: Instant) -> Self {
        let (preface, header, allowance) = (PREFACE.len(), [0; 9], BURST);
        Self { preface, header, have: 0, payload: 0, in_head: false, ends_head: false, allowance, refilled: now }
    }

    /// These bytes came.
    pub fn read(&mut self, bytes: &[u8], now: Instant) -> Result<(), Flood> {
        let opening = self.preface.min(bytes.len());
        self.preface -= opening;
        let mut rest = &bytes[opening..];
        while !rest.is_empty() {
            let skipped = self.payload.min(rest.len());
            let part = if skipped > 0 { skipped } else { rest.len().min(self.header.len() - self.have) };
            let (now_read, later) = rest.split_at(part);
            rest = later;
            match skipped > 0 {
                true => self.pass_payload(skipped),
                false => self.pass_header(now_read, now)?,
            }
        }
        Ok(())
    }

    /// The preface has come, as far as its length tells.
    pub fn has_begun(&self) -> bool {
        self.preface == 0
    }

    /// A head, or the beginning of a frame, has come in part.
    pub fn is_in_head(&self) -> bool {
        self.in_head || self.have > 0
    }

    fn pass_header(&mut self, part: &[u8], now: Instant) -> Result<(), Flood> {
        self.header[self.have..self.have + part.len()].copy_from_slice(part);
        self.have += part.len();
        if self.have < self.header.len() {
            return Ok(());
        }
        self.have = 0;
        let [high, middle, low, kind, flags, ..] = self.header;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let is_head = matches!(kind, HEADERS | CONTINUATION);
        self.in_head |= is_head;
        self.ends_head = is_head && flags & END_HEADERS != 0;
        if self.payload == 0 {
            self.end_frame();
        }
        match asks_for_nothing(kind, flags, self.payload) {
            true => self.spend(now),
            false => Ok(()),
        }
    }

    fn pass_payload(&mut self, bytes: usize) {
        self.payload -= bytes;
        if self.payload == 0 {
            self.end_frame();
        }
    }

    fn end_frame(&mut self) {
        self.in_head &= !self.ends_head;
    }

    fn spend(&mut self, now: Instant) -> Result<(), Flood> {
        let seconds = now.saturating_duration_since(self.refilled).as_secs();
        if seconds > 0 {
            self.refilled += Duration::from_secs(seconds);
            let more = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(PER_SECOND);
            self.allowance = self.allowance.saturating_add(more).min(BURST);
        }
        self.allowance = self.allowance.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }
}

/// Neither begins a request nor moves one on. A window update does, and there are as many of them as there is data.
fn asks_for_nothing(kind: u8, flags: u8, length: usize) -> bool {
    match kind {
        DATA => length == 0 && flags & END_STREAM == 0,
        HEADERS | WINDOW_UPDATE => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn a_head_is_open_from_its_first_byte_to_its_last_however_it_is_cut() {
        let now = clock::monotonic();
        let stream =
            [PREFACE, &frame(DATA, 0, b"abc"), &frame(HEADERS, 0, b"ab"), &frame(CONTINUATION, END_HEADERS, b"cd")].concat();
        let (begin, end) = (PREFACE.len() + 12, stream.len());
        for step in [1, 2, 5, 7] {
            let mut frames = Frames::new(now);
            let mut read = 0;
            for piece in stream.chunks(step) {
                frames.read(piece, now).unwrap();
                read += piece.len();
                assert_eq!(frames.has_begun(), read >= PREFACE.len());
                let in_first = (PREFACE.len() + 1..PREFACE.len() + 9).contains(&read);
                assert_eq!(frames.is_in_head(), in_first || (begin + 1..end).contains(&read), "{read} of {end} by {step}");
            }
        }
    }

    #[test]
    fn frames_that_ask_for_nothing_are_a_flood_when_there_are_too_many() {
        let now = clock::monotonic();
        let later = now + Duration::from_secs(2);
        for (kind, length) in [(DATA, 0), (CONTINUATION, 1), (3, 4), (4, 0), (6, 8), (200, 5)] {
            let mut frames = Frames::new(now);
            frames.read(PREFACE, now).unwrap();
            let idle = frame(kind, 0, &vec![0; length]);
            for _ in 0..BURST {
                frames.read(&idle, now).unwrap();
            }
            assert_eq!(frames.read(&idle, now), Err(Flood), "{kind}");
            assert_eq!(frames.read(&idle.repeat(2 * PER_SECOND as usize), later), Ok(()), "{kind}");
            assert_eq!(frames.read(&idle, later), Err(Flood), "{kind}");
        }
    }

    #[test]
    fn what_moves_a_request_on_is_no_flood() {
        let now = clock::monotonic();
        let mut frames = Frames::new(now);
        frames.read(PREFACE, now).unwrap();
        let work = [frame(HEADERS, END_HEADERS, b"ab"), frame(DATA, 0, b"a"), frame(WINDOW_UPDATE, 0, b"abcd")].concat();
        assert_eq!(frames.read(&work.repeat(10_000), now), Ok(()));
    }
}
