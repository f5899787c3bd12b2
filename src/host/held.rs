//! How much a worker holds of what passes.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes that one holder has of what all of a worker may hold, as long as it has them.
pub(super) struct HeldBytes {
    all: Rc<Cell<usize>>,
    own: usize,
}

impl HeldBytes {
    /// Nothing yet. `all`: what all holders have.
    pub(super) fn new(all: &Rc<Cell<usize>>) -> Self {
        Self { all: Rc::clone(all), own: 0 }
    }

    /// Makes room for more, if all holders of the worker then have `most` at most.
    pub(super) fn add(&mut self, bytes: usize, most: usize) -> bool {
        let fits = self.all.get().saturating_add(bytes) <= most;
        if fits {
            self.set(self.own.saturating_add(bytes));
        }
        fits
    }

    /// It has so many now.
    pub(super) fn set(&mut self, bytes: usize) {
        self.all.set(self.others().saturating_add(bytes));
        self.own = bytes;
    }

    /// What the other holders have.
    pub(super) fn others(&self) -> usize {
        self.all.get().saturating_sub(self.own)
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}
