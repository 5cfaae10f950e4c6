//! What the commented example says of each key.

use std::collections::BTreeMap;

/// By path: `server.tls.listen`, `routes.path`; tables are among them.
pub struct Descriptions(BTreeMap<String, String>);

impl Descriptions {
    /// Of each key what stands above it and behind it, lines that go on included. Where it stands twice, the first counts.
    pub fn of(example: &str) -> Self {
        let (mut described, mut section, mut above, mut last) = (BTreeMap::new(), "", Vec::new(), None);
        for line in example.lines() {
            match Line::of(line) {
                Line::Empty => (above, last) = (Vec::new(), None),
                Line::Prose(text) => above.push(text),
                Line::GoesOn(text) => {
                    if let Some(description) = last.as_ref().and_then(|path| described.get_mut(path)) {
                        *description = format!("{description} {text}");
                    }
                }
                Line::Key(key, comment) => {
                    let path = match key.strip_prefix('[') {
                        Some(name) => {
                            section = name.trim_matches(['[', ']']);
                            section.to_owned()
                        }
                        None => format!("{section}.{key}"),
                    };
                    above.extend(comment);
                    let text = std::mem::take(&mut above).join(" ");
                    last = (!described.contains_key(&path)).then(|| path.clone());
                    described.entry(path).or_insert(text);
                }
            }
        }
        described.retain(|_, text| !text.is_empty());
        Self(described)
    }

    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

enum Line<'a> {
    Empty,
    /// About what follows.
    Prose(&'a str),
    /// A comment that did not fit behind its key.
    GoesOn(&'a str),
    /// A key or, in its brackets, a table, commented out or not; and what is said behind it.
    Key(&'a str, Option<&'a str>),
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let trimmed = line.trim_start();
        match trimmed.strip_prefix("# ") {
            Some(text) if trimmed.len() < line.len() => return Self::GoesOn(text),
            Some(text) => return Self::Prose(text),
            None => {}
        }
        let (code, comment) = split_comment(line.strip_prefix('#').unwrap_or(line));
        match code.split(" = ").next().map(str::trim).unwrap_or_default() {
            "" => Self::Empty,
            key => Self::Key(key, comment),
        }
    }
}

/// A `#` within quotes begins no comment.
fn split_comment(line: &str) -> (&str, Option<&str>) {
    let mut is_quoted = false;
    let begins = line.find(|character| {
        is_quoted ^= character == '"';
        character == '#' && !is_quoted
    });
    match begins {
        Some(at) => (&line[..at], Some(line[at + 1..].trim())),
        None => (line, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_what_stands_above_and_behind_it_and_goes_on_below() {
        let example = "# A heading.\n\n# The door.\n[server]\n#listen = [\"a#b\"]   # where\n                  # to listen\nworkers = 0\n\n\
                       # More.\n#[[server.certificates]] # of them\n#file = 1\n";
        let descriptions = Descriptions::of(example);
        let expected = [
            ("server", Some("The door.")),
            ("server.listen", Some("where to listen")),
            ("server.workers", None),
            ("server.certificates", Some("More. of them")),
            ("server.certificates.file", None),
        ];
        for (path, text) in expected {
            assert_eq!(descriptions.get(path), text, "{path}");
        }
    }

    #[test]
    fn of_a_table_that_stands_twice_the_first_counts() {
        let descriptions =
            Descriptions::of("[[routes]] # one\na = 1 # first\n\n[[routes]] # two\na = 2 # second\n     # and more\n");
        assert_eq!((descriptions.get("routes"), descriptions.get("routes.a")), (Some("one"), Some("first")));
    }
}
