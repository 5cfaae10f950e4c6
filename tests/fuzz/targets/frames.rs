//! The watch over HTTP/2's frames. The bytes: how often the frames come, then frames.

use std::sync::LazyLock;
use std::time::Instant;

use hokusai_gateway::clock;
use hokusai_gateway::listen::http2::PREFACE;
use hokusai_gateway::listen::http2::frames::Frames;

use super::cuts;

/// Any will do, as long as no time passes.
static NOW: LazyLock<Instant> = LazyLock::new(clock::monotonic);
/// As many frames that ask for nothing may come at once.
const BURST: usize = 1000;

/// However the bytes are cut, what is seen in them is what somebody sees who has them all before him.
pub fn holds(bytes: &[u8]) {
    let Some((&times, frames)) = bytes.split_first() else { return };
    let bytes = [PREFACE, &frames.repeat(usize::from(times) + 1)].concat();
    let (is_in_head, idle) = naive(&bytes[PREFACE.len()..]);
    let expected = (idle <= BURST).then_some(is_in_head);
    assert_eq!(watched(&[&bytes]), expected);
    for cut in cuts(bytes.len()) {
        let (start, rest) = bytes.split_at(cut);
        assert_eq!(watched(&[start, rest]), expected, "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(watched(&single), expected, "byte by byte");
}

/// Whether it is in a head at the end. `None`: it was a flood.
fn watched(pieces: &[&[u8]]) -> Option<bool> {
    let mut frames = Frames::new(*NOW);
    for piece in pieces {
        frames.read(piece, *NOW).ok()?;
    }
    Some(frames.is_in_head())
}

/// The same, and how many frames asked for nothing.
fn naive(mut bytes: &[u8]) -> (bool, usize) {
    let (mut is_in_head, mut idle) = (false, 0);
    while let Some((&[a, b, c, kind, flags, ..], rest)) = bytes.split_first_chunk::<9>() {
        let length = usize::from(a) * 65536 + usize::from(b) * 256 + usize::from(c);
        idle += usize::from(match kind {
            0 => length == 0 && flags & 1 == 0,
            1 | 8 => false,
            _ => true,
        });
        let is_whole = rest.len() >= length;
        if kind == 1 || kind == 9 {
            is_in_head = !is_whole || flags & 4 == 0;
        }
        bytes = if is_whole { &rest[length..] } else { &[] };
    }
    (is_in_head, idle)
}
