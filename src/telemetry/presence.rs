//! Which VMs of this Envoy are alive: a table that they keep together in shared data.
//!
//! Envoy tells a module neither how many workers there are nor which one it runs on. So each VM takes a
//! place in the table and says once a second that it is there; the place is its number in the metrics. A
//! place whose VM has been silent for long is free again.

/// Nanoseconds of silence after which a VM counts as gone: many missed beats, for a worker may be busy.
pub const SILENCE: u64 = 15_000_000_000;

/// The version of the table's form, its first byte: another version's table is replaced.
const FORM: u8 = 1;
/// More VMs than any Envoy has threads; bounds what a damaged table could make us keep.
const MOST: usize = 1_024;

/// A VM's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Drawn by the VM when it starts; 0: nobody's.
    vm: u64,
    /// When it was last heard of, in nanoseconds since the epoch.
    heard: u64,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    places: Vec<Place>,
}

impl Table {
    /// Reads the table; anything that is none is an empty one, and heals with the next beats.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let Some((&FORM, rest)) = bytes.split_first() else { return Self::default() };
        let (words, _) = rest.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let vms = words.clone().step_by(2);
        let heard = words.skip(1).step_by(2);
        Self { places: vms.zip(heard).take(MOST).map(|(vm, heard)| Place { vm, heard }).collect() }
    }

    /// Writes the table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let words = self.places.iter().flat_map(|place| [place.vm, place.heard]);
        std::iter::once(FORM).chain(words.flat_map(u64::to_le_bytes)).collect()
    }

    /// The VMs that were heard of within so many nanoseconds, by their numbers.
    pub fn heard_within(&self, nanoseconds: u64, now: u64) -> impl Iterator<Item = (usize, u64)> + '_ {
        let recent = move |place: &Place| now.saturating_sub(place.heard) <= nanoseconds;
        let places = self.places.iter().enumerate().filter(move |(_, place)| place.vm != 0 && recent(place));
        places.map(|(number, place)| (number, place.vm))
    }

    /// Notes that `vm` (not 0) is there at `now`. Returns its number and the numbers of those that have
    /// gone silent since the last beat; `None` when the table is full.
    pub fn beat(&mut self, vm: u64, now: u64) -> Option<(usize, Vec<usize>)> {
        let mut gone = Vec::new();
        for (number, place) in self.places.iter_mut().enumerate() {
            // A clock that was set back makes nobody silent.
            if place.vm != 0 && place.vm != vm && now.saturating_sub(place.heard) > SILENCE {
                place.vm = 0;
                gone.push(number);
            }
        }
        let mine = self.places.iter().position(|place| place.vm == vm);
        let number = mine.or_else(|| self.places.iter().position(|place| place.vm == 0));
        let number = number.unwrap_or(self.places.len());
        match self.places.get_mut(number) {
            Some(place) => *place = Place { vm, heard: now },
            None if number < MOST => self.places.push(Place { vm, heard: now }),
            None => return None,
        }
        gone.retain(|gone| *gone != number);
        Some((number, gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_vm_keeps_its_place() {
        let mut table = Table::default();
        assert_eq!(table.beat(7, 0), Some((0, vec![])));
        assert_eq!(table.beat(8, 0), Some((1, vec![])));
        assert_eq!(table.beat(7, SECOND), Some((0, vec![])));
        assert_eq!(Table::decode(&table.encode()), table);
    }

    #[test]
    fn a_silent_vm_is_told_once_and_its_place_goes_to_the_next() {
        let mut table = Table::default();
        table.beat(7, 0);
        table.beat(8, 0);
        let later = SILENCE + SECOND;
        assert_eq!(table.beat(8, later), Some((1, vec![0])));
        assert_eq!(table.beat(8, later), Some((1, vec![])));
        assert_eq!(table.beat(9, later), Some((0, vec![])));
        assert_eq!(table.beat(7, later), Some((2, vec![])), "who comes back takes another place");
    }

    #[test]
    fn who_was_heard_of_is_listed() {
        let mut table = Table::default();
        table.beat(7, 0);
        table.beat(8, 5 * SECOND);
        let heard = |within| table.heard_within(within * SECOND, 6 * SECOND).collect::<Vec<_>>();
        assert_eq!(heard(3), [(1, 8)]);
        assert_eq!(heard(9), [(0, 7), (1, 8)]);
    }

    #[test]
    fn a_clock_set_back_makes_nobody_silent() {
        let mut table = Table::default();
        table.beat(7, 100 * SILENCE);
        assert_eq!(table.beat(8, 0), Some((1, vec![])));
    }

    #[test]
    fn a_full_table_takes_nobody_more() {
        let mut table = Table::default();
        for vm in 1..=1_024 {
            assert!(table.beat(vm, 0).is_some());
        }
        assert_eq!(table.beat(5_000, 0), None);
        assert!(table.beat(5_000, 2 * SILENCE).is_some());
    }

    proptest! {
        #[test]
        fn damaged_tables_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), vm in 1..u64::MAX, now: u64) {
            let mut table = Table::decode(&bytes);
            prop_assert!(table.beat(vm, now).is_some());
        }
    }
}
