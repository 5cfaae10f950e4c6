//! A table of the file while it is read. One call declares a key, its default and its form, and all calls together are what the
//! schema is made of.
//!
//! What must stay true here: a key that nobody asked for is a problem, and so is a wrong value. Reading goes on with a
//! placeholder after it, so that the rest is found too; what was read then must not be used, [`Reading::into_problems`] says so.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::Path;

use toml::{Table, Value};

use super::forms::Form;
use super::problem::Complaint;
use super::shape::{Keys, Shape};

/// One run over one file and its environment.
pub(super) struct Reading<'a> {
    /// What relative paths are relative to.
    pub base_dir: &'a Path,
    env: &'a dyn Fn(&str) -> Option<String>,
    problems: RefCell<Vec<(String, Complaint)>>,
}

impl<'a> Reading<'a> {
    pub fn new(base_dir: &'a Path, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { base_dir, env, problems: RefCell::default() }
    }

    /// Reads the whole document. Returns beside it what was asked for.
    pub fn root<T>(&'a self, table: &'a Table, read: impl FnOnce(&mut Section<'a>) -> T) -> (T, Keys) {
        Section::read(self, String::new(), Some(table), read)
    }

    /// The variable, unless it is unset or empty (as container files leave it).
    pub fn env(&self, variable: &str) -> Option<String> {
        (self.env)(variable).filter(|text| !text.is_empty())
    }

    pub fn problem(&self, path: impl Into<String>, complaint: Complaint) {
        self.problems.borrow_mut().push((path.into(), complaint));
    }

    /// Whether `path` had no problem so far: a placeholder is not worth comparing with others.
    pub fn is_right(&self, path: &str) -> bool {
        self.problems.borrow().iter().all(|(wrong, _)| wrong != path)
    }

    /// All problems with their paths, in the order they were found. If there is any, nothing that was read may be used.
    pub fn into_problems(self) -> Vec<(String, Complaint)> {
        self.problems.into_inner()
    }
}

pub(super) struct Section<'a> {
    pub reading: &'a Reading<'a>,
    path: String,
    /// `None`: not in the file, all keys have their defaults.
    table: Option<&'a Table>,
    asked: Keys,
}

#[expect(clippy::needless_pass_by_value, reason = "a form is mostly a function, written where it is asked for")]
impl<'a> Section<'a> {
    fn read<T>(
        reading: &'a Reading<'a>,
        path: String,
        table: Option<&'a Table>,
        read: impl FnOnce(&mut Section<'a>) -> T,
    ) -> (T, Keys) {
        let mut section = Self { reading, path, table, asked: Keys::default() };
        let result = read(&mut section);
        section.refuse_unknown_keys();
        (result, section.asked)
    }

    /// A text of some form. The default is written as in a file.
    pub fn text<T>(&mut self, key: &'static str, default: &str, form: impl Form<T>) -> T {
        self.asked.add(key, Shape::Text { default: Some(default.to_owned()), choices: form.choices() });
        let given = self.value(key, |value| formed(value, |text| form.read(text)));
        given.unwrap_or_else(|| form.read(default).expect("a default has the form of its key"))
    }

    /// A text that may be left out; `None` when it is, or is wrong.
    pub fn optional_text<T>(&mut self, key: &'static str, form: impl Form<T>) -> Option<T> {
        self.asked.add(key, Shape::Text { default: None, choices: form.choices() });
        self.value(key, |value| formed(value, |text| form.read(text)))
    }

    /// A text that must be there.
    pub fn required_text<T>(&mut self, key: &'static str, form: impl Form<T>) -> Option<T> {
        self.asked.add_required(key, Shape::Text { default: None, choices: form.choices() });
        if !self.has(key) {
            self.complain(key, Complaint::new("is missing"));
        }
        self.value(key, |value| formed(value, |text| form.read(text)))
    }

    /// A list of texts of one form.
    pub fn list<T>(&mut self, key: &'static str, default: &[&str], form: impl Form<T>) -> Vec<T> {
        self.asked.add(key, list_shape(default, &form));
        self.listed(key, default, &form)
    }

    /// A list of texts that holds something; without a default it must be there.
    pub fn filled_list<T>(&mut self, key: &'static str, default: &[&str], form: impl Form<T>) -> Vec<T> {
        match default.is_empty() {
            true => self.asked.add_required(key, list_shape(default, &form)),
            false => self.asked.add(key, list_shape(default, &form)),
        }
        match self.table.and_then(|table| table.get(key)) {
            None if default.is_empty() => self.complain(key, Complaint::new("is missing")),
            Some(Value::Array(items)) if items.is_empty() => self.complain(key, Complaint::new("is empty")),
            _ => {}
        }
        self.listed(key, default, &form)
    }

    fn listed<T>(&self, key: &str, default: &[&str], form: &impl Form<T>) -> Vec<T> {
        let Some(items) = self.value(key, as_list) else {
            let default: Result<_, _> = default.iter().map(|text| form.read(text)).collect();
            return default.expect("a default has the form of its key");
        };
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match formed(item, |text| form.read(text)) {
                Ok(item) => list.push(item),
                Err(complaint) => self.reading.problem(format!("{}[{index}]", self.path_of(key)), complaint),
            }
        }
        list
    }

    pub fn integer(&mut self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        self.asked.add(key, Shape::Integer { default, range: range.clone() });
        self.value(key, |value| match value {
            Value::Integer(number) => within(*number, &range),
            _ => Err(Complaint::new(format!("must be a whole number, not {}", kind(value)))),
        })
        .unwrap_or(default)
    }

    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.asked.add(key, Shape::Flag { default });
        let flag = |value: &Value| {
            value.as_bool().ok_or_else(|| Complaint::new(format!("must be true or false, without quotes, not {}", kind(value))))
        };
        self.value(key, flag).unwrap_or(default)
    }

    /// A table; where it is left out, its keys have their defaults.
    pub fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let (result, keys) = Self::read(self.reading, self.path_of(key), self.value(key, as_table), read);
        self.asked.add(key, Shape::Table(keys));
        result
    }

    /// A table that means something by being there.
    pub fn optional_table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> T) -> Option<T> {
        let table = self.value(key, as_table);
        let (result, keys) = table.map(|table| Self::read(self.reading, self.path_of(key), Some(table), read)).unzip();
        self.asked.add(key, Shape::Table(keys.unwrap_or_default()));
        result
    }

    /// `[[key]]`, as often as it stands there.
    pub fn tables<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'a>) -> T) -> Vec<T> {
        let hint = || format!("write [[{key}]], once for each");
        let items = self.value(key, |value| as_list(value).map_err(|complaint| complaint.hint(hint()))).unwrap_or_default();
        let (mut results, mut keys) = (Vec::with_capacity(items.len()), Keys::default());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            let table = as_table(item).map_err(|complaint| self.reading.problem(&*path, complaint.hint(hint()))).ok();
            let (result, asked) = Self::read(self.reading, path, table, &mut read);
            results.push(result);
            keys = asked;
        }
        self.asked.add(key, Shape::Tables(keys));
        results
    }

    /// A table of texts whose keys are free.
    pub fn free_table<T>(&mut self, key: &'static str, form: impl Fn(&str, &str) -> Result<T, Complaint>) -> Vec<T> {
        self.asked.add(key, Shape::FreeTable);
        let mut list = vec![];
        for (name, value) in self.value(key, as_table).into_iter().flatten() {
            match formed(value, |value| form(name, value)) {
                Ok(item) => list.push(item),
                Err(complaint) => self.reading.problem(format!("{}.{name}", self.path_of(key)), complaint),
            }
        }
        list
    }

    /// The environment's word on `key`, of a form of its own.
    pub fn env<T>(&self, variable: &str, key: &str, form: impl FnOnce(&str) -> Result<T, Complaint>) -> Option<T> {
        let overrides = || format!("this environment variable overrides {}", self.path_of(key));
        let complain = |complaint: Complaint| {
            let hint = complaint.hint.map_or_else(overrides, |hint| format!("{hint}; {}", overrides()));
            self.reading.problem(variable, Complaint { says: complaint.says, hint: Some(hint) });
        };
        form(&self.reading.env(variable)?).map_err(complain).ok()
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    pub fn complain(&self, key: &str, complaint: Complaint) {
        self.reading.problem(self.path_of(key), complaint);
    }

    /// About the table as a whole.
    pub fn complain_here(&self, complaint: Complaint) {
        self.reading.problem(&*self.path, complaint);
    }

    fn value<T>(&self, key: &str, form: impl FnOnce(&'a Value) -> Result<T, Complaint>) -> Option<T> {
        form(self.table?.get(key)?).map_err(|complaint| self.complain(key, complaint)).ok()
    }

    fn refuse_unknown_keys(&self) {
        let known = self.asked.names();
        for key in self.table.into_iter().flat_map(Table::keys).filter(|key| !known.contains(&key.as_str())) {
            self.complain(key, Complaint::unknown("key", key, &known));
        }
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

fn list_shape<T>(default: &[&str], form: &impl Form<T>) -> Shape {
    Shape::List { default: default.iter().map(ToString::to_string).collect(), choices: form.choices() }
}

/// `number`, if it is one of `range`.
pub(super) fn within(number: i64, range: &RangeInclusive<usize>) -> Result<usize, Complaint> {
    let fits = usize::try_from(number).ok().filter(|number| range.contains(number));
    fits.ok_or_else(|| Complaint::new(format!("{number} is not between {} and {}", range.start(), range.end())))
}

/// A text of the form. A bare number is judged as if it were one, since the form knows better what it lacks: mostly its unit.
fn formed<T>(value: &Value, form: impl FnOnce(&str) -> Result<T, Complaint>) -> Result<T, Complaint> {
    let no_text = || Complaint::new(format!("must be a text in quotes, not {}", kind(value)));
    match value {
        Value::String(text) => form(text),
        Value::Integer(number) => Err(match form(&number.to_string()) {
            Ok(_) => no_text(),
            Err(complaint) => Complaint { hint: complaint.hint.or(Some("put it in quotes".to_owned())), ..complaint },
        }),
        _ => Err(no_text()),
    }
}

fn as_list(value: &Value) -> Result<&[Value], Complaint> {
    let complaint = || Complaint::new(format!("must be a list in brackets, not {}", kind(value)));
    value.as_array().map(Vec::as_slice).ok_or_else(complaint)
}

fn as_table(value: &Value) -> Result<&Table, Complaint> {
    value.as_table().ok_or_else(|| Complaint::new(format!("must be a table, not {}", kind(value))))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a decimal number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
