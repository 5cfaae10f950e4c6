//! Durations and sizes as people write them: `30s`, `1h30m`, `16MiB`. The unit is part of the value.
//!
//! What must stay true here: nothing is guessed. A number without a unit, a fraction or a space is refused; only zero
//! needs no unit. What [`format_duration`] writes, [`parse_duration`] reads as the same.

use std::time::Duration;

/// Names of duration units with their milliseconds, the longest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Names of size units with their bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
/// Milliseconds of 100 years: beyond it a slip is likelier than a wish, and adding it to an instant stays in range.
const LONGEST: u64 = 36_525 * 86_400_000;
/// Bytes: the largest that SQL and TOML, whose integers are signed, can hold too.
const LARGEST: u64 = i64::MAX as u64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnitError {
    #[error("`{0}` has no unit: write `{0}s` for seconds (units are ms, s, m, h and d)")]
    DurationWithoutUnit(String),
    #[error("`{0}` is no duration: write whole numbers, each with its unit (ms, s, m, h or d), like `30s` or `1h30m`")]
    NotADuration(String),
    #[error("`{0}` is longer than 100 years")]
    TooLong(String),
    #[error("`{0}` has no unit: write `{0}B` for bytes (units are B, KiB, MiB, GiB and TiB)")]
    SizeWithoutUnit(String),
    #[error("`{0}` is no size: write a whole number and its unit (B, KiB, MiB, GiB or TiB), like `16MiB`")]
    NotASize(String),
    #[error("`{0}` is more than 2^63 bytes")]
    TooLarge(String),
}

/// Reads `500ms`, `30s`, `1h30m`, `30d` or `0`: whole numbers, each with its unit, the longest unit first.
///
/// # Errors
/// Any other form, and more than 100 years.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if is_number(text) {
        return Err(UnitError::DurationWithoutUnit(text.to_owned()));
    }
    let malformed = || UnitError::NotADuration(text.to_owned());
    let too_long = || UnitError::TooLong(text.to_owned());
    let (mut rest, mut millis, mut units) = (text, 0_u64, &DURATION_UNITS[..]);
    while !rest.is_empty() || units.len() == DURATION_UNITS.len() {
        let (number, unit, after) = split_part(rest);
        let at = units.iter().position(|(name, _)| *name == unit).filter(|_| is_number(number)).ok_or_else(malformed)?;
        let number: u64 = number.parse().map_err(|_| too_long())?;
        millis = number.checked_mul(units[at].1).and_then(|part| millis.checked_add(part)).ok_or_else(too_long)?;
        (rest, units) = (after, &units[at + 1..]);
    }
    if millis > LONGEST { Err(too_long()) } else { Ok(Duration::from_millis(millis)) }
}

/// Writes a duration to the millisecond, in a form [`parse_duration`] reads: `1h30m`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let parts = DURATION_UNITS.map(|(name, length)| {
        let count = millis / u128::from(length);
        millis %= u128::from(length);
        if count > 0 { format!("{count}{name}") } else { String::new() }
    });
    let text = parts.concat();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads `512B`, `32KiB`, `16MiB`, `1GB` or `0`, in bytes.
///
/// # Errors
/// Any other form, and more than 2^63 bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    if text == "0" {
        return Ok(0);
    }
    if is_number(text) {
        return Err(UnitError::SizeWithoutUnit(text.to_owned()));
    }
    let (number, unit, after) = split_part(text);
    let known = SIZE_UNITS.iter().find(|(name, _)| *name == unit).filter(|_| is_number(number) && after.is_empty());
    let (_, bytes) = known.ok_or_else(|| UnitError::NotASize(text.to_owned()))?;
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes));
    size.filter(|&size| size <= LARGEST).ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

/// The leading digits, the letters after them, and the rest.
fn split_part(text: &str) -> (&str, &str, &str) {
    let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let (unit, rest) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
    (number, unit, rest)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_with_units_are_read() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d1ms", 86_400_001),
            ("30d", 2_592_000_000),
            ("36525d", LONGEST),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_duration_is_never_guessed() {
        assert_eq!(parse_duration("30"), Err(UnitError::DurationWithoutUnit("30".into())));
        for text in
            ["", " ", "s", "1.23h", "1 ms", " 1s", "1s ", "-1s", "+1s", "1S", "1w", "1h30", "30m1h", "1s1s", "1sm", "١s", "0x1s"]
        {
            assert_eq!(parse_duration(text), Err(UnitError::NotADuration(text.into())), "{text}");
        }
        for text in ["36526d", "36525d1ms", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(parse_duration(text), Err(UnitError::TooLong(text.into())), "{text}");
        }
    }

    #[test]
    fn sizes_with_units_are_read() {
        for (text, bytes) in
            [("0", 0), ("0B", 0), ("512B", 512), ("32KiB", 32 << 10), ("16MiB", 16 << 20), ("1GiB", 1 << 30), ("1KB", 1000)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_size_is_never_guessed() {
        assert_eq!(parse_size("1024"), Err(UnitError::SizeWithoutUnit("1024".into())));
        for text in ["", "B", "1.5MiB", "1 KiB", "1k", "1K", "1kib", "1MiB1KiB", "-1B", "1MiB "] {
            assert_eq!(parse_size(text), Err(UnitError::NotASize(text.into())), "{text}");
        }
        for text in ["9999999TiB", "9223372036854775808B", "99999999999999999999B"] {
            assert_eq!(parse_size(text), Err(UnitError::TooLarge(text.into())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0..=LONGEST) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in "[0-9smhdKMiB. é-]{0,24}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
