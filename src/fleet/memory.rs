//! Shared data in memory, which behaves as Envoy's does: for tests, simulations and tools.

use std::collections::HashMap;

use super::shared::{NotWritten, Shared, Version};

/// What some VMs share.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    values: HashMap<String, (Vec<u8>, Version)>,
    /// Rises with every write.
    writes: u32,
}

impl Memory {
    /// Everything that was written, by key.
    pub fn values(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.values.iter().map(|(key, (value, _))| (key.as_str(), value.as_slice()))
    }
}

impl Shared for Memory {
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        self.values.get(key).cloned()
    }

    fn swap(&mut self, key: &str, value: &[u8], version: Version) -> Result<(), NotWritten> {
        let known = self.values.get(key);
        // As in Envoy, a key that does not exist takes any version.
        if known.is_some_and(|(_, known)| version != Version::ANY && *known != version) {
            return Err(NotWritten::Lost);
        }
        self.writes = self.writes.wrapping_add(1).max(1);
        self.values.insert(key.to_owned(), (value.to_vec(), Version(self.writes)));
        Ok(())
    }
}
