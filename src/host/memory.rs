//! Memory for what Envoy returns.
//!
//! A host call that returns bytes asks for memory through the export below, writes into it, and returns its address and
//! size. The caller takes the memory before it makes another call. Envoy asks once in a call, so a request reads everything
//! into the same piece; a host that asks more than once gets further pieces, and all are kept until the call returns.

#![allow(unsafe_code)] // the name of the export

use std::cell::Cell;
use std::ops::Deref;

/// The largest memory that is kept for the next call.
const LARGEST_KEPT: usize = 16 << 10;

thread_local! {
    /// What the host call in progress has asked for last.
    static ASKED_FOR: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// What it has asked for before that.
    static EARLIER: Cell<Vec<Vec<u8>>> = const { Cell::new(Vec::new()) };
    /// What the next one gets.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

// SAFETY: the host's name for it; nothing else in the module has that name.
#[unsafe(no_mangle)]
pub(super) extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut memory = SPARE.take();
    // What it held before is overwritten.
    if memory.len() < size {
        memory.resize(size, 0);
    }
    let address = memory.as_mut_ptr();
    let before = ASKED_FOR.replace(memory);
    if !before.is_empty() {
        let mut earlier = EARLIER.take();
        earlier.push(before);
        EARLIER.set(earlier);
    }
    address
}

/// What the host call that has just returned has written to this address. `None`: it has not asked for that much there.
pub(super) fn written(address: *const u8, size: usize) -> Option<Bytes> {
    let (last, earlier) = (ASKED_FOR.take(), EARLIER.take());
    if size == 0 {
        return Some(Bytes { memory: last, size });
    }
    let pieces = std::iter::once(last).chain(earlier);
    let memory = pieces.filter(|piece| piece.len() >= size).find(|piece| piece.as_ptr() == address)?;
    Some(Bytes { memory, size })
}

/// Forgets what a host call has asked for that has failed.
pub(super) fn discard() {
    drop(Bytes { memory: ASKED_FOR.take(), size: 0 });
    EARLIER.take();
}

/// Bytes from Envoy. Their memory is used again.
pub(super) struct Bytes {
    memory: Vec<u8>,
    /// How many there are; what is behind them is left from before.
    size: usize,
}

impl Bytes {
    /// Keeps them, in memory that is not much longer.
    pub(super) fn into_vec(mut self) -> Vec<u8> {
        if self.memory.capacity() / 2 > self.size {
            return self.to_vec();
        }
        let mut memory = std::mem::take(&mut self.memory);
        memory.truncate(self.size);
        memory
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(..self.size).unwrap_or_default()
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if (1..=LARGEST_KEPT).contains(&self.memory.len()) {
            SPARE.set(std::mem::take(&mut self.memory));
        }
    }
}
