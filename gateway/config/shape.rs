//! What may stand in a table, as its reader asks for it.
//!
//! What must stay true here: nobody writes this down. It is a by-product of reading, so it cannot say anything else than what is
//! read.

use std::ops::RangeInclusive;

/// The keys of a table, in the order they are asked for. None while nobody has read the table, since it was not there.
#[derive(Debug, Default)]
pub(super) struct Keys(pub Vec<Key>);

#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub is_required: bool,
}

#[derive(Debug)]
pub(super) enum Shape {
    /// Without choices it has a form of its own.
    Text {
        default: Option<String>,
        choices: Vec<&'static str>,
    },
    /// Of texts.
    List {
        default: Vec<String>,
        choices: Vec<&'static str>,
    },
    Integer {
        default: usize,
        range: RangeInclusive<usize>,
    },
    Flag {
        default: bool,
    },
    Table(Keys),
    /// `[[key]]`
    Tables(Keys),
    /// Of texts, under any names.
    FreeTable,
}

impl Keys {
    pub fn add(&mut self, name: &'static str, shape: Shape) {
        self.0.push(Key { name, shape, is_required: false });
    }

    pub fn add_required(&mut self, name: &'static str, shape: Shape) {
        self.0.push(Key { name, shape, is_required: true });
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|key| key.name).collect()
    }

    /// Takes over what was asked for in another reading and was not known before. What was known stays as it is.
    pub fn learn(&mut self, asked: Self) {
        for key in asked.0 {
            match self.0.iter_mut().find(|known| known.name == key.name) {
                Some(known) => known.shape.learn(key.shape),
                None => self.0.push(key),
            }
        }
    }
}

impl Shape {
    fn learn(&mut self, asked: Self) {
        if let (Self::Table(known), Self::Table(asked)) | (Self::Tables(known), Self::Tables(asked)) = (self, asked) {
            known.learn(asked);
        }
    }
}
