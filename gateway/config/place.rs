//! From the path of a key to its place in the file.

use std::fmt::Debug;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Both counted from 1; the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The place of a byte of the text; the end where the text is shorter.
    pub(super) fn of_byte(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// The place of a path like `routes[1].cors.max_age`: of the key itself, or of what it is missing in. `None` when nothing on its
/// way stands in the file.
pub(super) fn of_path(text: &str, document: &DeTable<'_>, path: &str) -> Option<Place> {
    in_table(document, path).map(|byte| Place::of_byte(text, byte))
}

/// Keys are tried as they are instead of splitting the path, so that a key may hold dots and brackets itself.
fn in_table(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let steps = table.iter().filter_map(|(key, value)| {
        let rest = path.strip_prefix(key.get_ref().as_ref())?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some((key, value, rest))
    });
    let (key, value, rest) = steps.min_by_key(|(_, _, rest)| rest.len())?;
    in_value(value, rest).or(Some(key.span().start))
}

fn in_value(value: &Spanned<DeValue<'_>>, path: &str) -> Option<usize> {
    match value.get_ref() {
        DeValue::Table(table) => in_table(table, path.strip_prefix('.')?),
        DeValue::Array(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            in_value(item, rest).or(Some(item.span().start))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"[server]
listen = ["a",
          "b"]
[[routes]]
path = "/"
[[routes]]
  cors = { max_age = "1s" }
[routes.request_headers.set]
"X.Env" = "é"
"#;

    fn place(path: &str) -> Option<(usize, usize)> {
        let document = DeTable::parse(TEXT).expect("TOML");
        of_path(TEXT, document.get_ref(), path).map(|place| (place.line, place.column))
    }

    #[test]
    fn a_key_is_found_wherever_it_stands() {
        assert_eq!(place("server.listen"), Some((2, 1)));
        assert_eq!(place("server.listen[1]"), Some((3, 11)));
        assert_eq!(place("routes[0].path"), Some((5, 1)));
        assert_eq!(place("routes[1].cors.max_age"), Some((7, 12)));
        assert_eq!(place("routes[1].request_headers.set.X.Env"), Some((9, 1)));
    }

    #[test]
    fn a_missing_key_is_placed_at_what_it_is_missing_in() {
        assert_eq!(place("server.workers"), Some((1, 2)));
        assert_eq!(place("routes[1].path"), Some((6, 1)));
        assert_eq!(place("store.url"), None);
    }
}
