//! A store in memory that behaves as etcd does: for tests, simulations and tools.

use std::collections::BTreeMap;

use super::call::{Answer, Call, Failure, Item, Range};

/// Bytes of one call.
const MOST_BYTES: usize = 3 << 19;

/// A store.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By key: the value, and the revision of its write.
    pub values: BTreeMap<String, (Vec<u8>, u64)>,
    /// Rises with every write.
    pub revision: u64,
    /// Whether it takes no writes any more.
    pub is_full: bool,
}

impl Memory {
    /// Carries a call out.
    pub fn call(&mut self, call: &Call) -> Answer {
        let revision_of = |key: &String| self.values.get(key).map_or(0, |(_, revision)| *revision);
        if !call.when.iter().all(|(key, revision)| revision_of(key) == *revision) {
            return Answer::Refused;
        }
        if call.put.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum::<usize>()
            > MOST_BYTES
        {
            return Answer::Failed(Failure::Other);
        }
        if self.is_full && !call.put.is_empty() {
            return Answer::Failed(Failure::Full);
        }
        if !call.put.is_empty() || call.delete.iter().any(|key| self.values.contains_key(key)) {
            self.revision = self.revision.saturating_add(1);
        }
        for (key, value) in &call.put {
            self.values.insert(key.clone(), (value.clone(), self.revision));
        }
        for key in &call.delete {
            self.values.remove(key);
        }
        let items = call.read.iter().map(|range| self.read(range)).collect();
        Answer::Done { revision: self.revision, items }
    }

    fn read(&self, range: &Range) -> Vec<Item> {
        let fits =
            |key: &String| if range.is_prefix { key.starts_with(&range.key) } else { *key == range.key };
        let from = self.values.range(range.key.clone()..).take_while(|(key, _)| fits(key));
        let newer = from.filter(|(_, (_, revision))| *revision > range.newer_than);
        newer
            .map(|(key, (value, revision))| Item {
                key: key.clone(),
                value: value.clone(),
                revision: *revision,
            })
            .collect()
    }
}
