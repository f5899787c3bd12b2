//! How much a worker holds of what passes: claims on what all its streams may hold together.

use std::cell::Cell;
use std::rc::Rc;

/// What one holder has of what all of a worker may hold, as long as it has it: bytes, or places.
pub(super) struct Claim {
    all: Rc<Cell<usize>>,
    own: usize,
}

impl Claim {
    /// Nothing yet. `all`: what all holders have.
    pub(super) fn new(all: &Rc<Cell<usize>>) -> Self {
        Self { all: Rc::clone(all), own: 0 }
    }

    /// Makes room for more, if all holders of the worker then have `most` at most.
    pub(super) fn add(&mut self, more: usize, most: usize) -> bool {
        self.grow(self.own.saturating_add(more), most)
    }

    /// It has so much now, if all holders of the worker then have `most` at most.
    pub(super) fn grow(&mut self, own: usize, most: usize) -> bool {
        let fits = self.others().saturating_add(own) <= most;
        if fits {
            self.set(own);
        }
        fits
    }

    /// It has so much now.
    pub(super) fn set(&mut self, own: usize) {
        self.all.set(self.others().saturating_add(own));
        self.own = own;
    }

    /// What the other holders have.
    pub(super) fn others(&self) -> usize {
        self.all.get().saturating_sub(self.own)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.set(0);
    }
}
