//! Values that all VMs of an Envoy share, under keys that name the form they are written in.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The number of the form in which values are written. Two versions of this software that write differently have
/// different numbers, so that neither reads what the other has written. A test pins the bytes of every form.
pub const FORM: u32 = 3;

/// How often a lost race is run again.
const TRIES: usize = 16;

/// What the VMs of an Envoy share. Each call takes a lock and copies: a request never makes one.
pub trait Shared {
    /// The value of a key, and its version. `None` when there is none.
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)>;

    /// Replaces a value that still has this version. A key that was never written takes any value, whatever the version.
    ///
    /// # Errors
    /// It was not written.
    fn swap(&mut self, key: &str, value: &[u8], version: Version) -> Result<(), NotWritten>;
}

/// Which form of a value was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version(pub u32);

impl Version {
    /// Replaces whatever is there.
    pub const ANY: Self = Self(0);
    /// That of a key that was never written: no value has it, so of several first writers one wins.
    pub const ABSENT: Self = Self(u32::MAX);
}

/// Why a value was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// Another VM has changed it since it was read.
    Lost,
    /// The host refuses.
    Failed,
}

/// The key of a value with that name.
#[must_use]
pub fn key(name: &str) -> String {
    format!("changeover.{FORM}.{name}")
}

/// Reads a value; `None` when there is none, or none that can be read.
pub fn read<T: DeserializeOwned>(shared: &impl Shared, key: &str) -> Option<T> {
    postcard::from_bytes(&shared.read(key)?.0).ok()
}

/// Writes a value, whatever was there. Returns whether it was written.
pub fn write<T: Serialize>(shared: &mut impl Shared, key: &str, value: &T) -> bool {
    let Ok(bytes) = postcard::to_allocvec(value) else { return false };
    shared.swap(key, &bytes, Version::ANY).is_ok()
}

/// Has a key exist, before a value is written to it that must not get lost. A value that is there already stays.
pub fn prepare(shared: &mut impl Shared, key: &str) {
    let _ = shared.swap(key, &[], Version::ABSENT); // refused where another VM has been first
}

/// Deletes a value. Shared data cannot forget a key, so an empty value stands for none.
pub fn erase(shared: &mut impl Shared, key: &str) {
    let _ = shared.swap(key, &[], Version::ANY); // what stays is not read
}

/// Changes a value until no other VM has changed it meanwhile. `change` gets what is there, and `None` when there is
/// nothing yet; what it returns is written, unless that is `None`. Returns whether the value is as `change` wants it.
pub fn update<T: Serialize + DeserializeOwned>(
    shared: &mut impl Shared,
    key: &str,
    mut change: impl FnMut(Option<T>) -> Option<T>,
) -> bool {
    for _ in 0..TRIES {
        let (bytes, version) = shared.read(key).unwrap_or((Vec::new(), Version::ABSENT));
        let Some(changed) = change(postcard::from_bytes(&bytes).ok()) else { return true };
        let Ok(changed) = postcard::to_allocvec(&changed) else { return false };
        if changed == bytes {
            return true;
        }
        match shared.swap(key, &changed, version) {
            Ok(()) => return true,
            Err(NotWritten::Lost) => {}
            Err(NotWritten::Failed) => return false,
        }
    }
    false
}

/// A value and the bytes it was read from, by which another VM's change is noticed.
#[derive(Debug)]
pub struct Cached<T> {
    /// The value.
    pub value: T,
    bytes: Vec<u8>,
}

impl<T: Serialize + DeserializeOwned> Cached<T> {
    /// Reads it.
    ///
    /// # Errors
    /// There is none, or none that can be read. The version is what [`Cached::create`] wants.
    pub fn read(shared: &impl Shared, key: &str) -> Result<Self, Version> {
        let (bytes, version) = shared.read(key).ok_or(Version::ABSENT)?;
        let value = postcard::from_bytes(&bytes).map_err(|_| version)?;
        Ok(Self { value, bytes })
    }

    /// Writes one where none was read at this version. `None`: it was not written, for another VM may have been first.
    pub fn create(shared: &mut impl Shared, key: &str, value: T, version: Version) -> Option<Self> {
        let bytes = postcard::to_allocvec(&value).ok()?;
        shared.swap(key, &bytes, version).ok()?;
        Some(Self { value, bytes })
    }

    /// Writes `self.value` as it is now, unless another VM has changed the shared one. If it was not written, it is
    /// read again.
    ///
    /// # Errors
    /// It was not written.
    pub fn store(&mut self, shared: &mut impl Shared, key: &str) -> Result<(), NotWritten> {
        let new = postcard::to_allocvec(&self.value).map_err(|_| NotWritten::Failed)?;
        if new == self.bytes {
            return Ok(());
        }
        let (bytes, version) = shared.read(key).unwrap_or_default();
        let written =
            if bytes == self.bytes { shared.swap(key, &new, version) } else { Err(NotWritten::Lost) };
        match written {
            Ok(()) => self.bytes = new,
            Err(_) => self.reload(shared, key),
        }
        written
    }

    /// Goes back to what is shared; where that cannot be read, to what was last known to be, which the next change
    /// writes again.
    pub fn reload(&mut self, shared: &impl Shared, key: &str) {
        let (bytes, _) = shared.read(key).unwrap_or_default();
        let known = std::mem::replace(&mut self.bytes, bytes);
        if let Ok(value) = postcard::from_bytes(&self.bytes).or_else(|_| postcard::from_bytes(&known)) {
            self.value = value;
        }
    }
}
