//! Where the sets of users stand that are too large to be written at each tick.

use fastrand::Rng;

use super::shared::{self, Shared, Version};
use crate::analysis::user_set;
use crate::rollout::record::Record;

/// The shelf of this Envoy, for one change of a record. What is put on it under a name never changes.
pub struct Shelf<'a, S> {
    shared: &'a mut S,
    rng: &'a mut Rng,
    written: Vec<u64>,
}

impl<S: Shared> user_set::Shelf for Shelf<'_, S> {
    fn read(&self, name: u64) -> Option<Vec<u8>> {
        Some(self.shared.read(&key(name))?.0)
    }

    fn write(&mut self, bulk: &[u8]) -> Option<u64> {
        let name = self.rng.u64(1..);
        self.shared.swap(&key(name), bulk, Version::ABSENT).ok()?;
        self.written.push(name);
        Some(name)
    }
}

impl<'a, S: Shared> Shelf<'a, S> {
    /// The shelf, with nothing written yet.
    pub fn new(shared: &'a mut S, rng: &'a mut Rng) -> Self {
        Self { shared, rng, written: Vec::new() }
    }

    /// The names under which something was written.
    pub fn written(self) -> Vec<u64> {
        self.written
    }
}

/// The names of what a record has on the shelf.
#[must_use]
pub fn named_by(record: &Record) -> Vec<u64> {
    record.shelved().collect()
}

/// What a record has on the shelf, by name.
pub fn of(shared: &impl Shared, record: &Record) -> Vec<(u64, Vec<u8>)> {
    record.shelved().filter_map(|name| Some((name, shared.read(&key(name))?.0))).collect()
}

/// Deletes what one of `names` names and the record does not.
pub fn sweep(shared: &mut impl Shared, names: &[u64], record: &Record) {
    let named = named_by(record);
    let unnamed = names.iter().filter(|name| !named.contains(name));
    unnamed.for_each(|name| shared::erase(shared, &key(*name)));
}

fn key(name: u64) -> String {
    shared::key(&format!("users.{name:x}"))
}
