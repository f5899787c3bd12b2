//! Which VMs of this Envoy are alive: a table that they keep together in shared data.
//!
//! Envoy gives a module neither the number of workers nor the one it runs on. So each VM takes a place in the table and
//! writes once a second that it is there; the place is its number in the metrics. A place whose VM has been silent for
//! long is free again.

use super::shared::{NotWritten, Shared, key};

/// Nanoseconds of silence after which a VM counts as gone: many missed beats, for a worker may be busy.
pub const SILENCE: u64 = 15_000_000_000;
/// Nanoseconds of silence after which a VM has missed a beat. A new one takes its place then: mostly because it has failed, and
/// Envoy has started the new one for it.
const MISSED: u64 = 1_500_000_000;
/// Nanoseconds within which a VM that lives has beaten: some beats.
const RECENT: u64 = 3_500_000_000;

/// The version of the table's form, its first byte: another version's table is replaced.
const FORM: u8 = 1;
/// More VMs than any Envoy has threads; bounds what a damaged table could make us keep.
const MOST: usize = 1_024;
/// How often a lost race is run again before the next tick gets its turn.
const TRIES: usize = 8;

/// Identifies a VM; never 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct VmId(pub u64);

/// A VM's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The VM; 0: the place is free.
    vm: VmId,
    /// When it last beat, in nanoseconds of the clock that all VMs share.
    beat: u64,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    places: Vec<Place>,
}

/// A VM's place among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub number: usize,
    /// The numbers of VMs that have gone silent since the last beat.
    pub gone: Vec<usize>,
}

/// Writes that `vm` is there. `None`: the table is full, or cannot be written; the next beat tries again.
pub fn beat(shared: &mut impl Shared, vm: VmId, now: u64) -> Option<Taken> {
    let key = key("presence");
    for _ in 0..TRIES {
        let (bytes, version) = shared.read(&key).unwrap_or_default();
        let mut table = Table::decode(&bytes);
        let taken = table.beat(vm, now)?;
        // Two that write the very first table overwrite each other; the next beat mends it.
        match shared.swap(&key, &table.encode(), version) {
            Ok(()) => return Some(taken),
            Err(NotWritten::Lost) => {}
            Err(NotWritten::Failed) => return None,
        }
    }
    None
}

/// The VMs that live, with their numbers.
pub fn alive(shared: &impl Shared, now: u64) -> Vec<(usize, VmId)> {
    within(RECENT, shared, now)
}

/// The VMs that live, or may: those that are silent and do not count as gone.
pub fn not_gone(shared: &impl Shared, now: u64) -> Vec<(usize, VmId)> {
    within(SILENCE, shared, now)
}

fn within(nanoseconds: u64, shared: &impl Shared, now: u64) -> Vec<(usize, VmId)> {
    let (bytes, _) = shared.read(&key("presence")).unwrap_or_default();
    Table::decode(&bytes).heard_within(nanoseconds, now).collect()
}

impl Table {
    /// Reads the table; other bytes give an empty one, which heals with the next beats.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let Some((&FORM, rest)) = bytes.split_first() else { return Self::default() };
        let (words, _) = rest.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let vms = words.clone().step_by(2);
        let beats = words.skip(1).step_by(2);
        let place = |(vm, beat)| Place { vm: VmId(vm), beat };
        Self { places: vms.zip(beats).take(MOST).map(place).collect() }
    }

    /// Writes the table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let words = self.places.iter().flat_map(|place| [place.vm.0, place.beat]);
        std::iter::once(FORM).chain(words.flat_map(u64::to_le_bytes)).collect()
    }

    /// The VMs that have beaten within so many nanoseconds, with their numbers.
    pub fn heard_within(&self, nanoseconds: u64, now: u64) -> impl Iterator<Item = (usize, VmId)> + '_ {
        let recent = move |place: &Place| now.saturating_sub(place.beat) <= nanoseconds;
        let places = self.places.iter().enumerate();
        let places = places.filter(move |(_, place)| place.vm != VmId::default() && recent(place));
        places.map(|(number, place)| (number, place.vm))
    }

    /// Notes that `vm` is there at `now`. Returns its place; `None` when the table is full.
    pub fn beat(&mut self, vm: VmId, now: u64) -> Option<Taken> {
        let mut gone = Vec::new();
        for (number, place) in self.places.iter_mut().enumerate() {
            // A clock that was set back makes no VM silent.
            let is_other = place.vm != VmId::default() && place.vm != vm;
            if is_other && now.saturating_sub(place.beat) > SILENCE {
                place.vm = VmId::default();
                gone.push(number);
            }
        }
        let mine = self.places.iter().position(|place| place.vm == vm);
        let position = |wanted: &dyn Fn(&Place) -> bool| self.places.iter().position(wanted);
        let free = || position(&|place| place.vm == VmId::default());
        let left = || position(&|place| now.saturating_sub(place.beat) > MISSED);
        let number = mine.or_else(free).or_else(left);
        let number = number.unwrap_or(self.places.len());
        match self.places.get_mut(number) {
            Some(place) => *place = Place { vm, beat: now },
            None if number < MOST => self.places.push(Place { vm, beat: now }),
            None => return None,
        }
        gone.retain(|gone| *gone != number);
        Some(Taken { number, gone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(number: usize, gone: &[usize]) -> Option<Taken> {
        Some(Taken { number, gone: gone.to_vec() })
    }

    #[test]
    fn each_vm_keeps_its_place() {
        let mut table = Table::default();
        assert_eq!(table.beat(VmId(7), 0), taken(0, &[]));
        assert_eq!(table.beat(VmId(8), 0), taken(1, &[]));
        assert_eq!(table.beat(VmId(7), SECOND), taken(0, &[]));
        assert_eq!(Table::decode(&table.encode()), table);
    }

    #[test]
    fn the_place_of_a_silent_vm_goes_to_the_next() {
        let mut table = Table::default();
        table.beat(VmId(7), 0);
        table.beat(VmId(8), 0);
        let later = SILENCE + SECOND;
        assert_eq!(table.beat(VmId(8), later), taken(1, &[0]));
        assert_eq!(table.beat(VmId(8), later), taken(1, &[]));
        assert_eq!(table.beat(VmId(9), later), taken(0, &[]));
        assert_eq!(table.beat(VmId(7), later), taken(2, &[]), "a VM that comes back takes another place");
    }

    #[test]
    fn a_new_vm_takes_the_place_of_one_that_has_missed_a_beat() {
        let mut table = Table::default();
        table.beat(VmId(7), 0);
        table.beat(VmId(8), 0);
        table.beat(VmId(8), SECOND);
        assert_eq!(table.beat(VmId(9), SECOND), taken(2, &[]), "7 may be a little late");
        table.beat(VmId(8), 2 * SECOND);
        table.beat(VmId(9), 2 * SECOND);
        assert_eq!(table.beat(VmId(10), 2 * SECOND), taken(0, &[]), "no number stays behind for 7");
        assert_eq!(table.beat(VmId(7), 2 * SECOND), taken(3, &[]), "it was only slow");
        let later = 2 * SECOND + SILENCE;
        for vm in [8, 9, 10, 7] {
            assert!(table.beat(VmId(vm), later).is_some_and(|taken| taken.gone.is_empty()));
        }
    }

    #[test]
    fn vms_that_beat_lately_are_listed() {
        let mut table = Table::default();
        table.beat(VmId(7), 0);
        table.beat(VmId(8), 0);
        table.beat(VmId(8), 5 * SECOND);
        let heard = |within| table.heard_within(within * SECOND, 6 * SECOND).collect::<Vec<_>>();
        assert_eq!(heard(3), [(1, VmId(8))]);
        assert_eq!(heard(9), [(0, VmId(7)), (1, VmId(8))]);
    }

    #[test]
    fn a_clock_set_back_silences_no_vm() {
        let mut table = Table::default();
        table.beat(VmId(7), 100 * SILENCE);
        assert_eq!(table.beat(VmId(8), 0), taken(1, &[]));
    }

    #[test]
    fn a_full_table_takes_no_further_vm() {
        let mut table = Table::default();
        for vm in 1..=1_024 {
            assert!(table.beat(VmId(vm), 0).is_some());
        }
        assert_eq!(table.beat(VmId(5_000), 0), None);
        assert!(table.beat(VmId(5_000), 2 * SILENCE).is_some());
    }

    proptest! {
        #[test]
        fn damaged_tables_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), vm in 1..u64::MAX, now: u64) {
            let mut table = Table::decode(&bytes);
            prop_assert!(table.beat(VmId(vm), now).is_some());
        }
    }
}
