//! Where the sets of users stand that are too large to be written at each tick.

use super::{calls, shared};
use crate::analysis::user_set;
use crate::rollout::record::Record;

/// The shelf of this Envoy. What is put on it under a name never changes.
#[derive(Default)]
pub(super) struct Shelf {
    written: Vec<u64>,
}

impl user_set::Shelf for Shelf {
    fn read(&self, name: u64) -> Option<Vec<u8>> {
        Some(calls::shared(&key(name))?.0)
    }

    fn write(&mut self, bulk: &[u8]) -> u64 {
        let name = calls::entropy().max(1);
        calls::set_shared(&key(name), bulk, 0);
        self.written.push(name);
        name
    }
}

impl Shelf {
    /// Throws away what was written: the record that names it has not come to anything.
    pub(super) fn undo(self) {
        self.written.into_iter().for_each(erase);
    }
}

/// The names of what a record has on the shelf.
pub(super) fn named_by(record: &Record) -> Vec<u64> {
    record.shelved().collect()
}

/// Throws away what `before` names and the record that has replaced it does not.
pub(super) fn sweep(before: &[u64], record: &Record) {
    let named = named_by(record);
    before.iter().filter(|name| !named.contains(name)).for_each(|name| erase(*name));
}

fn erase(name: u64) {
    shared::erase(&key(name));
}

fn key(name: u64) -> String {
    shared::key(&format!("users.{name:x}"))
}
