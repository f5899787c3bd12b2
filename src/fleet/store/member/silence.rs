//! For how long the store and the other members have been silent.

use super::{GRACE, Member, PATIENCE};
use crate::fleet::store::pool::{BEAT_EVERY, Sign};
use crate::fleet::store::rules::{self, Rule};
use crate::fleet::store::values::Seen;
use crate::rollout::clock::Clock;

impl Member {
    /// The store has answered this member before, at this time in milliseconds since the epoch, and the fleet had these members.
    pub fn heard_before(&mut self, time: u64, members: Vec<Seen>, clock: Clock) {
        self.lead.members = members;
        let elapsed = clock.time.saturating_sub(time).saturating_mul(1_000_000);
        self.heard = Some((clock.uptime.saturating_sub(elapsed), time));
    }

    /// Whether the store has not answered for so long that this member acts on its own.
    #[must_use]
    pub fn is_away(&self, clock: Clock) -> bool {
        let patience = self.settings.period.saturating_mul(PATIENCE).saturating_add(GRACE);
        self.heard.is_none_or(|(at, _)| clock.uptime.saturating_sub(at) > patience)
    }

    /// Whether the store has not answered for so long that stable is to serve.
    #[must_use]
    pub fn is_stale(&self, clock: Clock) -> bool {
        self.settings.stale_after.is_some_and(|stale_after| self.age(clock) > stale_after)
    }

    /// Nanoseconds since the store last answered; since it was first asked if it never did.
    #[must_use]
    pub fn age(&self, clock: Clock) -> u64 {
        clock.uptime.saturating_sub(self.heard.map_or(self.began, |(at, _)| at))
    }

    #[inline(never)] // one copy in the module
    pub(super) fn note_heard(&mut self, clock: Clock) {
        // While nothing of the store was heard, nothing was heard of the others either: they are not silent for that. A period
        // of it counts: otherwise none would ever be silent where each answer takes longer.
        let silent = self.heard.map_or(0, |(at, _)| clock.uptime.saturating_sub(at));
        let excused = silent.saturating_sub(self.settings.period);
        let excuse = |sign: &mut Sign| sign.excused = sign.excused.saturating_add(excused);
        self.members.iter_mut().for_each(|(_, heard)| excuse(&mut heard.sign));
        self.beyond.iter_mut().for_each(|(_, sign)| excuse(sign));
        if self.is_away(clock) && self.heard.is_some() {
            self.hold(clock);
            // Others may have taken this member for gone.
            self.is_configured_told = false;
        }
        self.heard = Some((clock.uptime, clock.time));
    }

    /// Nanoseconds after which a member that has reported nothing new has ended, or is cut off.
    pub(super) fn silent_after(&self) -> u64 {
        self.settings.period.saturating_mul(PATIENCE).saturating_add(BEAT_EVERY)
    }

    pub(super) fn hold(&mut self, clock: Clock) {
        if rules::is_out(Rule::Hold) {
            return;
        }
        let grace = GRACE.saturating_add(self.settings.period);
        self.hold_until = clock.uptime.saturating_add(grace);
    }
}
