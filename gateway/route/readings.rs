//! The ways an upstream may read one path.
//!
//! Apps decode percent-encoding or not, take `\` for `/`, cut `;…` off a segment, merge slashes, resolve dot segments, in any
//! combination. The gateway does none of that to what it forwards, but has to know where each would lead.

/// Whether there is only one way to read it: no percent sign, `\`, `;`, double slash or segment that starts with a dot.
pub fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let plain = match byte {
            b'%' | b'\\' | b';' => false,
            b'/' | b'.' => before != b'/',
            _ => true,
        };
        before = byte;
        plain
    })
}

/// Every reading of the path, or `None` when its percent-encoding is broken or hides a control character.
pub fn all(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut readings = Vec::new();
    // A parameter may hide a slash, which is cut with it by who cuts first, and ends it for who decodes first.
    for start in [path.to_vec(), without_parameters(path)] {
        readings.extend([decode(&start, false)?, decode(&start, true)?, start]);
    }
    for step in [without_parameters, backslashes, without_parameters, merged, resolved] {
        let further: Vec<Vec<u8>> = readings.iter().map(|reading| step(reading)).collect();
        readings.extend(further);
        readings.sort_unstable();
        readings.dedup();
    }
    Some(readings)
}

/// Decodes once; `keep_slashes` leaves `%2f` and `%5c` as they are, as some apps do.
fn decode(path: &[u8], keep_slashes: bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        let meant = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
        if meant.is_ascii_control() {
            return None;
        }
        if keep_slashes && matches!(meant, b'/' | b'\\') {
            decoded.push(byte);
        } else {
            decoded.push(meant);
            rest = tail;
        }
    }
    Some(decoded)
}

fn backslashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect()
}

/// `/a;x=1/b` becomes `/a/b`.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|&byte| byte == b'/');
    let cut = |segment: &[u8]| segment.split(|&byte| byte == b';').next().unwrap_or_default().to_vec();
    segments.map(cut).collect::<Vec<_>>().join(&b'/')
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|next, before| *next == b'/' && *before == b'/');
    merged
}

/// Removes dot segments (RFC 3986 5.2.4); above the root there is only the root.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.strip_prefix(b"/").unwrap_or(path).split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if is_last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut resolved = b"/".to_vec();
    resolved.extend(kept.join(&b'/'));
    resolved
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn dot_segments_are_removed_as_rfc_3986_says() {
        for (path, meant) in [
            ("/a/b/../c", "/a/c"),
            ("/a/./b", "/a/b"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/", "/"),
            ("/a/", "/a/"),
        ] {
            assert_eq!(text(&resolved(path.as_bytes())), meant, "{path}");
        }
    }

    #[test]
    fn combinations_are_followed_through() {
        let readings: Vec<String> = all(b"/a/%2e%2e;x%5cb").expect("sound").iter().map(|reading| text(reading)).collect();
        assert!(readings.contains(&"/b".to_owned()), "{readings:?}");
    }

    #[test]
    fn broken_encoding_and_hidden_controls_have_no_reading() {
        for path in ["/%", "/%2", "/%g0", "/%00", "/a%0d%0a", "/%7f"] {
            assert_eq!(all(path.as_bytes()), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_path_has_only_itself(path in "(/[a-z~@:][a-z.~@:]{0,5}){1,5}/?") {
            prop_assert!(is_plain(path.as_bytes()));
            prop_assert_eq!(all(path.as_bytes()), Some(vec![path.into_bytes()]));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(path in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = all(&path);
        }
    }
}
