//! Closes what still goes on with a version that was taken back, when its time is over.
//!
//! Nothing is kept of streams for this: while some are due, all of this VM are looked through once a tick, in pieces.

use std::cell::Cell;
use std::rc::Rc;

use super::calls;
use super::loaded::Loaded;
use super::metrics::NEVER;

/// Streams that are closed in one callback: Envoy ends them all when it is over, and their clients come back.
const MOST_CLOSED: usize = 32;
/// Streams that are looked at between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;
/// Nanoseconds that looking through them may take in one callback.
const LONGEST_PASS: u64 = 1_000_000;

/// When streams are to be closed, and how far this VM's are looked through.
pub(super) struct Drain {
    /// When the first ones are.
    due: Cell<u64>,
    /// The position at which this pass goes on.
    next: Cell<usize>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { due: Cell::new(NEVER), next: Cell::new(0) }
    }
}

impl Drain {
    /// What is in force may have changed.
    pub(super) fn follow(&self, loaded: &[Rc<Loaded>]) {
        let (now, mut due) = (calls::uptime(), NEVER);
        for loaded in loaded {
            for (rollout, series) in loaded.plan.rollouts().iter().zip(&loaded.series) {
                let drained = rollout.drained();
                for (version, series) in series.iter().enumerate() {
                    let ends_at = match drained {
                        Some((drained, after)) if drained == version => {
                            series.ends_at.get().min(now.saturating_add(after))
                        }
                        _ => NEVER,
                    };
                    series.ends_at.set(ends_at);
                    due = due.min(ends_at);
                }
            }
        }
        self.due.set(due);
    }

    /// Goes on with a pass over this VM's streams, where some are due.
    pub(super) fn pass(&self) -> Option<Pass> {
        let now = calls::uptime();
        let from = self.next.get();
        (self.due.get() <= now).then_some(Pass { now, from, looked: 0, closed: 0, left: None })
    }

    /// The pass is over for this callback; calls were about other contexts than `root` if it has closed any. Returns whether some
    /// are left.
    pub(super) fn rest(&self, pass: &Pass, root: u32) -> bool {
        if pass.closed > 0 {
            calls::set_context(root);
        }
        self.next.set(pass.left.unwrap_or_default());
        pass.left.is_some()
    }
}

/// A pass over the streams of this VM, in one callback.
pub(super) struct Pass {
    pub(super) now: u64,
    /// The position at which it goes on.
    pub(super) from: usize,
    looked: usize,
    closed: usize,
    /// The position at which it goes on in the next callback.
    left: Option<usize>,
}

impl Pass {
    /// Whether the stream at this position has its turn now.
    pub(super) fn comes_to(&mut self, position: usize) -> bool {
        self.looked = self.looked.wrapping_add(1);
        let is_time_up = || {
            self.looked.is_multiple_of(BETWEEN_LOOKS)
                && calls::uptime().saturating_sub(self.now) > LONGEST_PASS
        };
        if self.closed >= MOST_CLOSED || is_time_up() {
            self.left = Some(position);
        }
        self.left.is_none()
    }

    /// A stream is being closed.
    pub(super) fn close(&mut self) {
        self.closed = self.closed.saturating_add(1);
    }
}
