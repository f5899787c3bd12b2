//! Closed ticks of the rollouts that are being recorded.
//!
//! Nothing is kept of a rollout that is not being recorded: its ticks are kept from the first question on, for as long as it is
//! asked again.

use serde::{Deserialize, Serialize};

use super::shared::{self, Shared};

/// Rollouts that are recorded at the same time.
const MOST: usize = 16;
/// Nanoseconds for which a rollout's ticks are kept after a question.
const LASTS: u64 = 60_000_000_000;
/// Ticks that are kept of each.
const KEPT: usize = 120;
/// Bytes of them.
const MOST_BYTES: usize = 256 << 10;

/// A rollout that is being recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    rollout: String,
    /// When its ticks were last asked for, by the clock that all VMs share.
    asked: u64,
}

impl Wanted {
    fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.asked) > LASTS || self.asked.saturating_sub(now) > LASTS
    }
}

/// Prepares what is shared.
pub(super) fn prepare(shared: &mut impl Shared) {
    shared::prepare(shared, &wanted_key());
}

/// Whether as many rollouts as possible are being recorded, and `rollout` is none of them. `now`: nanoseconds of the
/// clock that all VMs share, here and below.
pub fn are_full(shared: &impl Shared, rollout: &str, now: u64) -> bool {
    let wanted = wanted(shared, now);
    wanted.len() >= MOST && !wanted.iter().any(|known| known == rollout)
}

/// Keeps the ticks of a rollout from now on. Drops those kept before, if the last question is too long ago.
pub fn want(shared: &mut impl Shared, rollout: &str, now: u64) {
    let mut is_new = false;
    shared::update::<Vec<Wanted>>(shared, &wanted_key(), |wanted| {
        let mut wanted = wanted.unwrap_or_default();
        wanted.retain(|known| !known.is_over(now));
        let (room, known) = (wanted.len() < MOST, wanted.iter_mut().find(|known| known.rollout == rollout));
        is_new = known.is_none();
        match known {
            Some(known) => known.asked = now,
            None if room => wanted.push(Wanted { rollout: rollout.to_owned(), asked: now }),
            None => return None,
        }
        Some(wanted)
    });
    if is_new {
        shared::erase(shared, &key(rollout));
    }
}

/// The rollouts that are being recorded.
pub(super) fn wanted(shared: &impl Shared, now: u64) -> Vec<String> {
    let wanted: Vec<Wanted> = shared::read(shared, &wanted_key()).unwrap_or_default();
    wanted.into_iter().filter(|wanted| !wanted.is_over(now)).map(|wanted| wanted.rollout).collect()
}

/// Adds closed ticks, each with its number and its line.
pub(super) fn add(shared: &mut impl Shared, rollout: &str, lines: &[(u64, String)]) {
    if lines.is_empty() {
        return;
    }
    shared::update::<Vec<(u64, String)>>(shared, &key(rollout), |kept| {
        let mut kept = kept.unwrap_or_default();
        kept.extend_from_slice(lines);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
        let mut bytes = kept.iter().fold(0_usize, |sum, (_, line)| sum.saturating_add(line.len()));
        let old = kept.iter().take_while(|(_, line)| {
            let is_over = bytes > MOST_BYTES;
            bytes = bytes.saturating_sub(line.len());
            is_over
        });
        let old = old.count();
        kept.drain(..old);
        Some(kept)
    });
}

/// The lines of ticks that were closed after the one with the number `after`; all of them, if ticks are counted anew since.
pub fn since(shared: &impl Shared, rollout: &str, after: u64) -> Vec<String> {
    let kept: Vec<(u64, String)> = shared::read(shared, &key(rollout)).unwrap_or_default();
    let is_anew = kept.last().is_none_or(|(newest, _)| *newest < after);
    let lines = kept.into_iter().filter(|(number, _)| is_anew || *number > after);
    lines.map(|(_, line)| line).collect()
}

/// Forgets a rollout's ticks.
pub(super) fn erase(shared: &mut impl Shared, rollout: &str) {
    if shared.read(&key(rollout)).is_some() {
        shared::erase(shared, &key(rollout));
    }
}

fn wanted_key() -> String {
    shared::key("recorded")
}

fn key(rollout: &str) -> String {
    shared::key(&format!("ticks.{rollout}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::Memory;

    const SECOND: u64 = 1_000_000_000;

    fn lines(numbers: std::ops::Range<u64>, length: usize) -> Vec<(u64, String)> {
        numbers.map(|number| (number, format!("{}{number}", " ".repeat(length)))).collect()
    }

    fn numbers(shared: &Memory, after: u64) -> Vec<u64> {
        since(shared, "r", after).iter().map(|line| line.trim().parse().unwrap()).collect()
    }

    #[test]
    fn ticks_are_kept_while_they_are_asked_for_and_the_newest_stay() {
        let mut shared = Memory::default();
        want(&mut shared, "r", SECOND);
        assert_eq!(wanted(&shared, 61 * SECOND), ["r"]);
        assert!(wanted(&shared, 62 * SECOND).is_empty());
        add(&mut shared, "r", &lines(0..200, 1));
        assert_eq!(numbers(&shared, 0), (80..200).collect::<Vec<_>>());
        assert_eq!(numbers(&shared, 198), [199]);
        assert!(numbers(&shared, 199).is_empty());
        want(&mut shared, "r", 30 * SECOND);
        assert_eq!(numbers(&shared, 198), [199], "asked again");
        want(&mut shared, "r", 91 * SECOND);
        assert!(numbers(&shared, 0).is_empty(), "what was kept for another recording is not of this one");
    }

    #[test]
    fn ticks_that_are_counted_anew_are_all_new() {
        let mut shared = Memory::default();
        add(&mut shared, "r", &lines(5..8, 1));
        assert_eq!(numbers(&shared, 1_000), [5, 6, 7]);
    }

    #[test]
    fn long_lines_do_not_pass_the_bytes_that_are_kept() {
        let mut shared = Memory::default();
        add(&mut shared, "r", &lines(0..100, MOST_BYTES / 4 - 2));
        assert_eq!(numbers(&shared, 0), [96, 97, 98, 99]);
        add(&mut shared, "r", &lines(100..101, MOST_BYTES * 2));
        assert!(numbers(&shared, 0).is_empty());
    }

    #[test]
    fn so_many_rollouts_are_recorded_at_once_and_no_more() {
        let mut shared = Memory::default();
        for nth in 0..20 {
            let name = format!("r{nth}");
            assert_eq!(are_full(&shared, &name, SECOND), nth >= MOST);
            want(&mut shared, &name, SECOND);
        }
        assert_eq!(wanted(&shared, SECOND).len(), MOST);
        assert!(!are_full(&shared, "r0", SECOND) && !are_full(&shared, "r19", 62 * SECOND));
    }
}
