//! Takes an answer's body out of what was read.
//!
//! What must stay true here: a body that is cut short is an error, never an end; and what stands around the data (sizes,
//! extensions, trailers) is bounded.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::{Malformed, parse};

/// The longest line before a chunk, its extensions with it.
const LINE_MOST: usize = 4 * 1024;
/// The longest section of trailers.
const TRAILERS_MOST: usize = 16 * 1024;
/// Hex digits of a chunk's size: more would be no `u64`.
const DIGITS_MOST: usize = 16;
/// What ends most chunked bodies, behind the last chunk's data.
const USUAL_END: &[u8] = b"\r\n0\r\n\r\n";

#[derive(Debug, PartialEq, Eq)]
pub struct Decoder(State);

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Bytes still to come.
    Length(u64),
    UntilClose,
    /// The line before a chunk.
    ChunkLine,
    /// Bytes still to come of a chunk.
    Chunk(u64),
    /// The empty line behind a chunk.
    ChunkEnd,
    Trailers,
    Done,
}

#[derive(Debug)]
pub enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More has to be read.
    Starved,
}

impl Decoder {
    pub fn of_length(length: u64) -> Self {
        Self(if length == 0 { State::Done } else { State::Length(length) })
    }

    pub fn chunked() -> Self {
        Self(State::ChunkLine)
    }

    pub fn until_close() -> Self {
        Self(State::UntilClose)
    }

    /// Everything has been taken.
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// The next of the body, off the front of what was read.
    pub fn decode(&mut self, unread: &mut BytesMut) -> Result<Decoded, Malformed> {
        loop {
            match self.0 {
                State::Done => return Ok(Decoded::End),
                _ if unread.is_empty() => return Ok(Decoded::Starved),
                State::UntilClose => return Ok(Decoded::Data(unread.split().freeze())),
                State::Length(left) => {
                    let (data, left) = take(unread, left);
                    self.0 = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Decoded::Data(data));
                }
                State::Chunk(left) => return Ok(Decoded::Data(self.take_chunk(unread, left))),
                State::ChunkLine => match take_chunk_line(unread)? {
                    Some(0) => self.0 = State::Trailers,
                    Some(size) => self.0 = State::Chunk(size),
                    None => return Ok(Decoded::Starved),
                },
                State::ChunkEnd if unread.len() < 2 => return Ok(Decoded::Starved),
                State::ChunkEnd if unread.starts_with(b"\r\n") => {
                    unread.advance(2);
                    self.0 = State::ChunkLine;
                }
                State::ChunkEnd => return Err(Malformed("a chunk is longer than its size")),
                State::Trailers => return self.take_trailers(unread),
            }
        }
    }

    /// The connection was closed.
    pub fn close(&mut self) -> Result<(), Malformed> {
        match self.0 {
            State::Done | State::UntilClose => {
                self.0 = State::Done;
                Ok(())
            }
            _ => Err(Malformed("the connection ended before the answer's body")),
        }
    }

    fn take_chunk(&mut self, unread: &mut BytesMut, left: u64) -> Bytes {
        let (data, left) = take(unread, left);
        self.0 = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
        // Seen at once, the end goes out with the data.
        if left == 0 && unread.starts_with(USUAL_END) {
            unread.advance(USUAL_END.len());
            self.0 = State::Done;
        }
        data
    }

    fn take_trailers(&mut self, unread: &mut BytesMut) -> Result<Decoded, Malformed> {
        match parse::trailers(unread)? {
            Some((length, _)) if length > TRAILERS_MOST => Err(Malformed("the trailers are too long")),
            Some((length, trailers)) => {
                unread.advance(length);
                self.0 = State::Done;
                Ok(if trailers.is_empty() { Decoded::End } else { Decoded::Trailers(trailers) })
            }
            None if unread.len() > TRAILERS_MOST => Err(Malformed("the trailers are too long")),
            None => Ok(Decoded::Starved),
        }
    }
}

/// At most `left` bytes, and how many are left then.
fn take(unread: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(unread.len());
    (unread.split_to(length).freeze(), left - length as u64)
}

/// A chunk's size, from `size [;extensions] CRLF`; `None` while the line is not all there.
fn take_chunk_line(unread: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    let seen = &unread[..unread.len().min(LINE_MOST)];
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        return if seen.len() < LINE_MOST { Ok(None) } else { Err(Malformed("a chunk's extensions are too long")) };
    };
    let size = seen[..end].strip_suffix(b"\r").and_then(chunk_size).ok_or(Malformed("a chunk's size is malformed"))?;
    unread.advance(end + 1);
    Ok(Some(size))
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    let extension = rest.trim_ascii_start();
    let is_text = rest.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control());
    if !is_text || !(extension.is_empty() || extension.starts_with(b";")) || end > DIGITS_MOST {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data and the trailers of a body that comes in pieces of `step` bytes, and what stands behind it.
    fn read(mut decoder: Decoder, wire: &[u8], step: usize) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), Malformed> {
        let (mut unread, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
        let mut pieces = wire.chunks(step);
        loop {
            match decoder.decode(&mut unread)? {
                Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                Decoded::Trailers(fields) => trailers = fields,
                Decoded::End => break,
                Decoded::Starved => match pieces.next() {
                    Some(piece) => unread.extend_from_slice(piece),
                    None => decoder.close()?,
                },
            }
        }
        unread.extend(pieces.flatten());
        Ok((data, trailers, unread.to_vec()))
    }

    fn chunks(wire: &str) -> Result<Vec<u8>, Malformed> {
        read(Decoder::chunked(), wire.as_bytes(), 1).map(|(data, ..)| data)
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let wire = b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nsurplus";
        for step in 1..=wire.len() {
            let (data, trailers, rest) = read(Decoder::chunked(), wire, step).expect("it is chunked");
            assert_eq!((&data[..], &rest[..]), (&b"abc0123456789"[..], &b"surplus"[..]));
            assert_eq!(trailers["x-sum"], "1");
            let (data, _, rest) = read(Decoder::of_length(5), wire, step).expect("it is long enough");
            assert_eq!((&data[..], &rest[..]), (&wire[..5], &wire[5..]));
            let (data, ..) = read(Decoder::until_close(), wire, step).expect("it ends");
            assert_eq!(data, wire);
        }
    }

    #[test]
    fn a_body_that_is_cut_short_has_no_end() {
        let wire = b"3\r\nabc\r\n0\r\nX: 1\r\n\r\n";
        for length in 0..wire.len() {
            assert!(read(Decoder::chunked(), &wire[..length], 4).is_err(), "{length}");
        }
        assert!(read(Decoder::of_length(4), b"abc", 4).is_err());
    }

    #[test]
    fn sizes_are_strict_hex() {
        for good in ["3\r\nabc\r\n0\r\n\r\n", "003 ;a\r\nabc\r\n00\r\n\r\n", "3\t \r\nabc\r\n0\r\n\r\n"] {
            assert_eq!(chunks(good).as_deref(), Ok(&b"abc"[..]), "{good:?}");
        }
        for bad in ["", "+3", "-3", "0x3", "3 3", "g", ";a", "3\r", "3;\0", "3a b", "00000000000000003", "\t3"] {
            assert!(chunks(&format!("{bad}\r\nabc\r\n0\r\n\r\n")).is_err(), "{bad:?}");
        }
        for bad in ["3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n", "3\r\nabc\n0\r\n\r\n"] {
            assert!(chunks(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn trailers_are_as_strict_as_headers() {
        assert!(chunks("0\r\nX: 1\r\n\r\n").is_ok());
        for bad in ["X : 1\r\n", "X: 1\n", "X\r\n", ": 1\r\n", "X: 1\r\n folded\r\n", "X: a\0\r\n"] {
            assert!(chunks(&format!("0\r\n{bad}\r\n")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_stands_around_the_data_is_bounded() {
        assert!(chunks(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(LINE_MOST / 2))).is_ok());
        assert!(chunks(&format!("3;{}", "x".repeat(LINE_MOST))).is_err());
        let trailers = |length| format!("0\r\nx: {}\r\n\r\n", "y".repeat(length));
        assert!(chunks(&trailers(TRAILERS_MOST / 2)).is_ok());
        assert!(read(Decoder::chunked(), trailers(TRAILERS_MOST).as_bytes(), 1000).is_err());
        assert!(read(Decoder::chunked(), trailers(TRAILERS_MOST).as_bytes(), 100_000).is_err());
    }
}
