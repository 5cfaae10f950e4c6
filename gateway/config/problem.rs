//! What is wrong with a configuration, in the operator's words.
//!
//! What must stay true here: no message repeats a value that may hold a password (URLs of stores and servers).

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use super::place::Place;

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where it stands in the file; `None` for what stands nowhere, like an environment variable.
    pub place: Option<Place>,
    /// The key, `limits.on_redis_failure` or `routes[0].path` (counted from 0); the name of an environment variable; empty
    /// when the file is no TOML.
    pub path: String,
    pub says: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, says) = (OneLine(&self.path), OneLine(&self.says));
        match (self.place, self.path.is_empty()) {
            (Some(place), true) => write!(f, "line {}, column {}: {says}", place.line, place.column)?,
            (Some(place), false) => write!(f, "line {}: {path}: {says}", place.line)?,
            (None, _) => write!(f, "{path}: {says}")?,
        }
        self.hint.iter().try_for_each(|hint| write!(f, "; {}", OneLine(hint)))
    }
}

/// A text whose control characters are told instead of obeyed: a key or a value of the file, quoted in a problem, may hold a line
/// break or what a terminal acts on.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character.is_control() {
            true => write!(f, "{}", character.escape_default()),
            false => f.write_char(character),
        })
    }
}

/// All problems of one file, in its order; what stands nowhere in it comes last. Shown a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if count == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Why a file gave no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the configuration {} cannot be used:\n{problems}", path.display())]
    Invalid { path: PathBuf, problems: Problems },
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug)]
pub(super) struct Complaint {
    pub says: String,
    pub hint: Option<String>,
}

impl Complaint {
    pub fn new(says: impl Into<String>) -> Self {
        Self { says: says.into(), hint: None }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// `text` is none of the names that are known; the nearest one is the hint, else all of them.
    pub fn unknown(what: &str, text: &str, known: &[&str]) -> Self {
        let complaint = Self::new(format!("`{text}` is no known {what}"));
        match nearest(text, known) {
            Some(name) => complaint.hint(format!("did you mean `{name}`?")),
            None if known.is_empty() => complaint.hint("there is none"),
            None => complaint.hint(format!("known: {}", known.join(", "))),
        }
    }
}

/// The name that `text` was likely meant to be: one character differs, or a third of them.
fn nearest<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let distance = |name: &&&str| strsim::damerau_levenshtein(&text.to_lowercase(), &name.to_lowercase());
    let name = names.iter().min_by_key(distance)?;
    (distance(&name) <= (text.chars().count() / 3).max(1)).then_some(*name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_whatever_it_quotes() {
        let problem = Problem {
            place: None,
            path: "a\nb".into(),
            says: "/missi\ng.pem cannot be read".into(),
            hint: Some("\u{1b}[2J é".into()),
        };
        assert_eq!(problem.to_string(), r"a\nb: /missi\ng.pem cannot be read; \u{1b}[2J é");
    }

    #[test]
    fn a_slip_is_named_and_a_stranger_gets_the_list() {
        let hint = |text| Complaint::unknown("key", text, &["timeout", "url"]).hint;
        assert_eq!(hint("timout"), Some("did you mean `timeout`?".into()));
        assert_eq!(hint("URL"), Some("did you mean `url`?".into()));
        assert_eq!(hint("colour"), Some("known: timeout, url".into()));
    }
}
