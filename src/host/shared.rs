//! Values that all VMs of an Envoy share, under keys that name the form they are written in.
//!
//! Shared data takes a lock and copies: it is touched once a tick and by commands, never by a request.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::calls;

/// How often a lost race is run again.
const TRIES: usize = 16;

/// A key. The number is the form's: another version of this software that writes differently has another one.
pub(super) fn key(name: &str) -> String {
    format!("changeover.3.{name}")
}

/// Reads a value; `None` when there is none, or none that can be read.
pub(super) fn read<T: DeserializeOwned>(key: &str) -> Option<T> {
    postcard::from_bytes(&calls::shared(key)?.0).ok()
}

/// Writes a value, whatever was there.
pub(super) fn write<T: Serialize>(key: &str, value: &T) {
    if let Ok(bytes) = postcard::to_allocvec(value) {
        calls::set_shared(key, &bytes, 0);
    }
}

/// Makes it as if there had never been a value.
pub(super) fn erase(key: &str) {
    calls::set_shared(key, &[], 0);
}

/// Changes a value, again and again until nobody else has changed it meanwhile. `change` gets what is there,
/// and `None` when there is nothing yet; what it returns is written, unless that is `None`.
pub(super) fn update<T: Serialize + DeserializeOwned>(
    key: &str,
    mut change: impl FnMut(Option<T>) -> Option<T>,
) -> bool {
    for _ in 0..TRIES {
        let (bytes, cas) = calls::shared(key).unwrap_or_default();
        let Some(changed) = change(postcard::from_bytes(&bytes).ok()) else { return true };
        let Ok(changed) = postcard::to_allocvec(&changed) else { return false };
        // The same again needs no writing. A first value can be lost to another first one: whoever wrote it
        // comes back at the next tick.
        if changed == bytes || calls::set_shared(key, &changed, cas) {
            return true;
        }
    }
    false
}

/// A value and the bytes it was read from, by which it is noticed when somebody else has changed it.
pub(super) struct Cached<T> {
    pub(super) value: T,
    bytes: Vec<u8>,
}

impl<T: Serialize + DeserializeOwned> Cached<T> {
    /// Reads it.
    pub(super) fn read(key: &str) -> Option<Self> {
        let (bytes, _) = calls::shared(key)?;
        Some(Self { value: postcard::from_bytes(&bytes).ok()?, bytes })
    }

    /// Writes one that was not there.
    pub(super) fn create(key: &str, value: T) -> Option<Self> {
        let bytes = postcard::to_allocvec(&value).ok()?;
        calls::set_shared(key, &bytes, 0);
        Some(Self { value, bytes })
    }

    /// Replaces it, unless somebody else has meanwhile; then it is read again, and `false` is returned.
    pub(super) fn replace(&mut self, key: &str, value: T) -> bool {
        let Ok(new) = postcard::to_allocvec(&value) else { return false };
        if new == self.bytes {
            self.value = value;
            return true;
        }
        let (bytes, cas) = calls::shared(key).unwrap_or_default();
        if bytes == self.bytes && calls::set_shared(key, &new, cas) {
            (self.value, self.bytes) = (value, new);
            return true;
        }
        if let Some(other) = Self::read(key) {
            *self = other;
        }
        false
    }
}
