//! One callback of Envoy, as the protocol sees it.

use super::InUse;
use super::effect::Effect;
use super::shared::Shared;
use crate::rollout::clock::Clock;

/// What a VM has in one callback of Envoy, and what it wants done afterwards.
pub struct Callback<'a, S> {
    /// What all VMs of the Envoy share.
    pub shared: &'a mut S,
    /// The configurations in use.
    pub plans: &'a [InUse<'a>],
    /// When it is.
    pub clock: Clock,
    /// Whether there is time for more.
    pub time: &'a dyn Fn() -> bool,
    /// What is to be done, in this order.
    pub effects: Vec<Effect>,
}

impl<'a, S: Shared> Callback<'a, S> {
    /// A callback in which nothing was done yet.
    #[must_use]
    pub fn new(shared: &'a mut S, plans: &'a [InUse<'a>], clock: Clock, time: &'a dyn Fn() -> bool) -> Self {
        Self { shared, plans, clock, time, effects: Vec::new() }
    }
}
