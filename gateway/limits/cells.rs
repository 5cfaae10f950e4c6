//! The cells by key.
//!
//! What must stay true here: a key has one cell while anything of its hour is held or owed.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use super::cell::{Cell, SharedCell};
use crate::model::ids::KeyId;

/// Cells there may be before those that nobody holds any more are looked for.
const CELLS_BEFORE_SWEEP: usize = 1024;

/// Those that nobody else holds, neither a record nor the list of those with something to report, go in time.
#[derive(Debug)]
pub(super) struct Cells {
    by_key: HashSet<ByKey>,
    sweep_at: usize,
}

/// A cell that is found by its key: the map has no copy of it.
#[derive(Debug)]
struct ByKey(SharedCell);

impl Cells {
    pub fn new() -> Self {
        Self { by_key: HashSet::new(), sweep_at: CELLS_BEFORE_SWEEP }
    }

    pub fn find(&self, key_id: &KeyId) -> Option<SharedCell> {
        self.by_key.get(key_id).map(|ByKey(cell)| SharedCell::clone(cell))
    }

    pub fn find_or_make(&mut self, key_id: &KeyId) -> SharedCell {
        if let Some(cell) = self.find(key_id) {
            return cell;
        }
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|ByKey(cell)| SharedCell::strong_count(cell) > 1);
            self.sweep_at = CELLS_BEFORE_SWEEP.max(self.by_key.len() * 2);
        }
        let cell = SharedCell::new(Cell::new(key_id.clone()));
        self.by_key.insert(ByKey(SharedCell::clone(&cell)));
        cell
    }

    pub fn all(&self) -> impl Iterator<Item = SharedCell> {
        self.by_key.iter().map(|ByKey(cell)| SharedCell::clone(cell))
    }
}

impl Borrow<KeyId> for ByKey {
    fn borrow(&self) -> &KeyId {
        self.0.key_id()
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key_id() == other.0.key_id()
    }
}

impl Eq for ByKey {}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key_id().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_cell_while_anybody_holds_it() {
        let mut cells = Cells::new();
        let cell = cells.find_or_make(&"a".into());
        assert!(SharedCell::ptr_eq(&cell, &cells.find_or_make(&"a".into())));
        assert!(!SharedCell::ptr_eq(&cell, &cells.find_or_make(&"b".into())));
    }

    #[test]
    fn keys_that_nobody_holds_do_not_fill_the_memory() {
        let mut cells = Cells::new();
        let held = cells.find_or_make(&"held".into());
        for n in 0..10 * CELLS_BEFORE_SWEEP {
            cells.find_or_make(&n.to_string().into());
        }
        assert!(cells.by_key.len() <= CELLS_BEFORE_SWEEP + 1, "{}", cells.by_key.len());
        assert!(SharedCell::ptr_eq(&held, &cells.find_or_make(&"held".into())));
    }
}
