//! Closes what still goes on with a version that was taken back, when its time is over.
//!
//! Nothing is kept of streams for this: while some are due, all of this VM are looked through once a tick, in pieces.

use std::cell::Cell;
use std::rc::Rc;

use super::calls;
use super::exports::Context;
use super::loaded::Loaded;
use super::metrics::NEVER;
use crate::abi::contexts::Contexts;

/// Streams that are closed in one callback: Envoy ends them all when it is over, and their clients come back.
const MOST_CLOSED: usize = 32;
/// Streams that are looked at between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;

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

    /// Goes on while there is `time`; calls are about `root`, before and afterwards. Returns whether some is left.
    pub(super) fn go_on(&self, root: u32, contexts: &Contexts<Context>, time: &dyn Fn() -> bool) -> bool {
        let (now, mut left) = (calls::uptime(), None);
        if self.due.get() > now {
            return false;
        }
        let (mut looked, mut closed) = (0_usize, 0_usize);
        for (position, number, context) in contexts.behind(self.next.get()) {
            looked = looked.wrapping_add(1);
            if closed >= MOST_CLOSED || (looked.is_multiple_of(BETWEEN_LOOKS) && !time()) {
                left = Some(position);
                break;
            }
            if matches!(context, Context::Request(stream) if stream.drain(number, now)) {
                closed = closed.saturating_add(1);
            }
        }
        if closed > 0 {
            calls::set_context(root);
        }
        self.next.set(left.unwrap_or_default());
        left.is_some()
    }
}
