//! Which requests are looked at, to see which cluster serves them.

use std::cell::Cell;

/// Ticks that a request may take.
const LONGEST_DEADLINE: u64 = 3_600;

/// The looks at one version's requests in one worker: in each tick at the first one, then at one of the next two, one of the
/// next four and so on, chosen at random. So no route is left out for long, and a tick of a thousand requests costs ten looks.
/// Behind a request that another cluster has served it begins anew.
#[derive(Debug, Default)]
pub struct Looks {
    tick: Cell<u64>,
    /// How many requests there are to choose from.
    among: Cell<u32>,
    /// How many come before the one that is chosen.
    before: Cell<u32>,
    /// How many come behind it.
    behind: Cell<u32>,
}

impl Looks {
    /// Whether a request is looked at, of this tick; `draw` gives a number below the one that it gets, which is not 0.
    pub fn is_due(&self, tick: u64, draw: impl FnOnce(u32) -> u32) -> bool {
        // Requests of earlier ticks may end later, and a clock may go back.
        let newest = self.tick.get();
        if tick > newest || tick < newest.saturating_sub(LONGEST_DEADLINE) {
            self.tick.set(tick);
            self.begin_anew();
        }
        if let Some(before) = self.before.get().checked_sub(1) {
            self.before.set(before);
            return false;
        }
        let among = self.among.get().saturating_mul(2);
        let chosen = draw(among);
        self.among.set(among);
        self.before.set(self.behind.get().saturating_add(chosen));
        self.behind.set(among.saturating_sub(chosen).saturating_sub(1));
        true
    }

    /// Has the next request looked at.
    pub fn begin_anew(&self) {
        self.among.set(1);
        self.before.set(0);
        self.behind.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    #[test]
    fn a_ticks_looks_are_few_however_many_requests_it_has() {
        let (looks, mut rng) = (Looks::default(), Rng::with_seed(1));
        for (tick, (requests, most)) in [(1, 1), (2, 2), (1_000, 10), (1_000_000, 20)].into_iter().enumerate()
        {
            let due = (0..requests).filter(|_| looks.is_due(tick as u64 + 1, |most| rng.u32(..most))).count();
            assert!((most - 1..=most).contains(&due), "{due} of {requests}");
        }
        for draw in [(|_| 0) as fn(u32) -> u32, |most| most - 1] {
            let looks = Looks::default();
            assert!((0..1_000_000).filter(|_| looks.is_due(1, draw)).count() <= 20);
        }
    }

    #[test]
    fn each_tick_begins_with_a_look_and_those_of_earlier_ticks_do_not() {
        let looks = Looks::default();
        let due = |tick| looks.is_due(tick, |most| most - 1);
        assert_eq!([due(7), due(7), due(7), due(7)], [true, false, true, false]);
        assert_eq!([due(8), due(7), due(8), due(6)], [true, false, true, false]);
    }

    #[test]
    fn a_clock_that_goes_back_leaves_the_looks_as_often() {
        let looks = Looks::default();
        let due = |tick| looks.is_due(tick, |most| most - 1);
        assert!((0..1_000).filter(|_| due(1_000_000)).count() > 5);
        assert_eq!([due(990_000), due(990_000), due(990_001)], [true, false, true]);
    }

    #[test]
    fn behind_a_request_that_another_cluster_served_the_next_one_is_looked_at() {
        let looks = Looks::default();
        let due = || looks.is_due(1, |most| most - 1);
        assert_eq!([due(), due(), due(), due()], [true, false, true, false]);
        looks.begin_anew();
        assert_eq!([due(), due()], [true, false]);
    }

    #[test]
    fn each_request_of_a_tick_may_be_looked_at() {
        let mut seen = [false; 100];
        let mut rng = Rng::with_seed(7);
        for _ in 0..10_000 {
            let looks = Looks::default();
            seen.iter_mut().for_each(|seen| *seen |= looks.is_due(1, |most| rng.u32(..most)));
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
