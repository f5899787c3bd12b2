//! Rules of the protocol that a test can take out, to see that what they promise then fails: `tests/hostile.rs` where any order of
//! events may show it, `tests/rules.rs` where one does. Outside of tests none can be, and nothing of this is in the module.
//! Several releases at once are not in the former: `tests/counts.rs`, `tests/differing.rs` and `tests/versions.rs` have them.

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A request is counted in the tick in which it arrived, and not in the one in which it was answered.
    Arrival,
    /// Records are ordered by their attempt and by having been taken back, and not by their revision alone.
    Order,
    /// What was counted, and the tick through which it was, are one value.
    OneValue,
    /// It is known of the whole fleet which users have come and failed.
    #[cfg(test)]
    UsersOnce,
    /// A candidate that was taken back stays so.
    TakenBackStays,
    /// A member that acts on its own moves nothing up.
    NothingMovesUpAlone,
    /// A rollout begins when the store has answered that there is none.
    BeginsWhenTold,
    /// What another version of this software has written is left alone.
    ForeignStays,
    /// The median of all clocks is the time of the fleet, and not the leader's clock.
    Median,
    /// After an outage nothing is closed before all can have told what was missed.
    Hold,
    /// The configuration that most members have is in force, and not the leader's.
    Majority,
    /// A member on its own needs as many times more evidence as the fleet has members.
    TimesMembers,
}

/// Whether a test has taken the rule out.
#[cfg(not(test))]
#[inline(always)]
#[must_use]
pub(super) const fn is_out(_: Rule) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static OUT: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether this test has taken the rule out.
#[cfg(test)]
#[must_use]
pub(super) fn is_out(rule: Rule) -> bool {
    OUT.get() == Some(rule)
}

/// Takes a rule out, for what else this thread does.
#[cfg(test)]
pub(super) fn take_out(rule: Rule) {
    OUT.set(Some(rule));
}
