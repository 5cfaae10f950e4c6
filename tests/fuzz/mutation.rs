//! Bytes much like those that are known, and yet other ones.

use fastrand::Rng;

/// What parsers look for.
const TELLING: &[u8] = b"\0\t\n\r \"#%&',-./019:;=?AZ[\\]_az{}\x7f\x80\xff";
/// Bytes moved at once.
const PIECE: usize = 40;

/// One of the seeds with a few changes.
pub fn mutated(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = one_of(seeds, random).clone();
    for _ in 0..random.usize(1..=5) {
        change(&mut bytes, seeds, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Rng) {
    let piece = stretch(bytes.len(), random);
    match random.u8(0..7) {
        0 => bytes[piece].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.u8(0..8)),
        1 => bytes[piece].iter_mut().take(1).for_each(|byte| *byte = *one_of(TELLING, random)),
        2 => bytes.insert(piece.start, *one_of(TELLING, random)),
        3 => drop(bytes.drain(piece)),
        4 => drop(bytes.splice(piece.end..piece.end, bytes[piece].to_vec())),
        5 => {
            let other = one_of(seeds, random);
            let there = stretch(other.len(), random);
            drop(bytes.splice(piece, other[there].iter().copied()));
        }
        _ => bytes.truncate(piece.end),
    }
}

fn stretch(length: usize, random: &mut Rng) -> std::ops::Range<usize> {
    let start = random.usize(..=length);
    start..random.usize(start..=length.min(start + PIECE))
}

fn one_of<'a, T>(all: &'a [T], random: &mut Rng) -> &'a T {
    &all[random.usize(..all.len())]
}
