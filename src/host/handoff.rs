//! What streams leave to a root: callouts of their own would outlive them. A root is woken by a queue of this VM.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::calls;

/// Things that wait for a root, oldest first.
pub(super) struct Handoff<T> {
    /// Names its queue among those of this VM.
    name: &'static str,
    waiting: RefCell<VecDeque<T>>,
    /// The queue that wakes a root, once there was something to do.
    queue: Cell<Option<u32>>,
}

impl<T> Handoff<T> {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, waiting: RefCell::default(), queue: Cell::new(None) }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Leaves something to a root, which Envoy calls soon.
    pub(super) fn leave(&self, thing: T) {
        let is_first = self.len() == 0;
        self.waiting.borrow_mut().push_back(thing);
        if is_first {
            self.wake();
        }
    }

    /// Whether it is this queue that wakes a root; it is emptied.
    pub(super) fn is_woken_by(&self, queue: u32) -> bool {
        let is_own = self.queue.get() == Some(queue);
        while is_own && calls::dequeue(queue).is_some() {}
        is_own
    }

    /// Takes what waits, from a callback of a root, while there is `time`; what is left wakes it again.
    pub(super) fn take_all(&self, time: &dyn Fn() -> bool, mut take: impl FnMut(T)) {
        loop {
            let Some(thing) = self.waiting.borrow_mut().pop_front() else { return };
            take(thing);
            if !time() {
                break;
            }
        }
        if self.len() > 0 {
            self.wake();
        }
    }

    /// Has Envoy call the root of the context that calls are about. No other VM has a queue of this name: a number that this
    /// one drew is in it.
    fn wake(&self) {
        thread_local! {
            static NUMBER: u64 = calls::entropy();
        }
        let number = NUMBER.with(|number| *number);
        let name = crate::fleet::shared::key(&format!("{}.{number:x}", self.name));
        let Some(queue) = calls::register_queue(&name) else { return };
        self.queue.set(Some(queue));
        calls::enqueue(queue, b"");
    }
}
