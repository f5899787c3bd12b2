//! Users of a run that have had an event already.
//!
//! Exact up to [`MOST_EXACT`] users; with more it becomes a Bloom filter (Bloom, 1970), which never forgets a user
//! and now and then takes a new one for known: that loses evidence and invents none.
//!
//! The bulk of a set is stored apart from the state that is written at each tick, under a name of its own, and is
//! never changed there: a change writes another bulk under another name. A set whose bulk cannot be read again is
//! *unknown*: no user is new to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::UserHash;

/// The number of users that a set stores exactly: 512 KiB.
pub const MOST_EXACT: usize = 65_536;
/// Users that join before the bulk is written anew.
const MOST_RECENT: usize = 512;
/// Words of a filter: 2^21 bits, 256 KiB.
const FILTER_WORDS: usize = 1 << 15;
/// Bits of a hash that choose one of a filter's bits.
const BIT: u32 = 21;
/// 64 bits are enough to choose three. At 65,536 users one new user in 1,300 is taken for known, at 500,000
/// one in 8.
const BITS_OF_A_USER: u32 = 3;
/// The name of a bulk that could not be written: nothing is read under it.
const UNWRITTEN: u64 = u64::MAX;

/// Where bulks stand.
pub trait Shelf {
    /// Reads one.
    fn read(&self, name: u64) -> Option<Vec<u8>>;
    /// Writes a new one. Returns its name, which is not 0; `None` where it was not written.
    fn write(&mut self, bulk: &[u8]) -> Option<u64>;
}

/// A set of users.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserSet {
    /// Whether it stays exact: the owner keeps it small.
    is_exact: bool,
    /// Users that have joined since the bulk was written, in ascending order.
    recent: Vec<UserHash>,
    /// The name of the bulk; 0: there is none.
    name: u64,
    #[serde(skip)]
    bulk: Option<Arc<Bulk>>,
    /// Whether the bulk has yet to be written.
    #[serde(skip)]
    is_new: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Bulk {
    /// In ascending order.
    Exact(Vec<UserHash>),
    Filter(Vec<u64>),
}

impl UserSet {
    /// A set that stays exact, however many users there are: the owner keeps it small by [`UserSet::retain`].
    #[must_use]
    pub fn exact() -> Self {
        Self { is_exact: true, ..Self::default() }
    }

    /// Whether users have been in it that cannot be read any more, after [`UserSet::fetch`].
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.name != 0 && self.bulk.is_none()
    }

    /// Adds a user. Returns whether the user was not in it; of an unknown set no user is said to be new.
    pub fn insert(&mut self, user: UserHash) -> bool {
        if self.is_unknown() {
            return false;
        }
        let Err(at) = self.recent.binary_search(&user) else { return false };
        if self.bulk.as_ref().is_some_and(|bulk| bulk.contains(user)) {
            return false;
        }
        self.recent.insert(at, user);
        if self.recent.len() >= MOST_RECENT {
            let recent = std::mem::take(&mut self.recent);
            let bulk = match self.bulk.take().as_deref() {
                Some(bulk) => bulk.with(&recent, if self.is_exact { usize::MAX } else { MOST_EXACT }),
                None => Bulk::Exact(recent),
            };
            (self.bulk, self.is_new) = (Some(Arc::new(bulk)), true);
        }
        true
    }

    /// How many users there are; `None` for a filter, which does not count them, and for an unknown set.
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        match self.bulk.as_deref() {
            Some(Bulk::Exact(users)) => Some(users.len().saturating_add(self.recent.len())),
            Some(Bulk::Filter(_)) => None,
            None if self.is_unknown() => None,
            None => Some(self.recent.len()),
        }
    }

    /// Whether there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Keeps the users for which `keeps` holds. A filter keeps all.
    pub fn retain(&mut self, keeps: impl Fn(UserHash) -> bool) {
        self.recent.retain(|user| keeps(*user));
        if let Some(Bulk::Exact(users)) = self.bulk.as_deref() {
            let mut kept = Vec::with_capacity(users.len());
            kept.extend(users.iter().filter(|user| keeps(**user)));
            (self.bulk, self.is_new) = (Some(Arc::new(Bulk::Exact(kept))), true);
        }
    }

    /// The name of the bulk as it was last written; 0: there is none.
    #[must_use]
    pub fn name(&self) -> u64 {
        self.name
    }

    /// Gets the bulk from the shelf, unless it is here.
    pub fn fetch(&mut self, shelf: &dyn Shelf) {
        if self.is_unknown() {
            self.bulk = shelf.read(self.name).and_then(|bytes| Bulk::decode(&bytes)).map(Arc::new);
        }
    }

    /// Puts the bulk on the shelf, if it has changed. One that was not written is unknown to other VMs, and is written
    /// the next time.
    pub fn put(&mut self, shelf: &mut dyn Shelf) {
        if let (Some(bulk), true) = (&self.bulk, self.is_new) {
            let written = shelf.write(&bulk.encode());
            (self.name, self.is_new) = (written.unwrap_or(UNWRITTEN), written.is_none());
        }
    }
}

impl Bulk {
    fn contains(&self, user: UserHash) -> bool {
        match self {
            Bulk::Exact(users) => users.binary_search(&user).is_ok(),
            Bulk::Filter(words) => {
                bits(user).all(|(word, bit)| words.get(word).is_some_and(|word| word & bit != 0))
            }
        }
    }

    /// The bulk and further users, which are not in it; exact up to `most_exact` users.
    fn with(&self, recent: &[UserHash], most_exact: usize) -> Self {
        match self {
            Bulk::Exact(users) if users.len().saturating_add(recent.len()) <= most_exact => {
                let mut merged = Vec::with_capacity(users.len().saturating_add(recent.len()));
                let mut recent = recent.iter().copied().peekable();
                for &user in users {
                    while let Some(earlier) = recent.next_if(|recent| *recent < user) {
                        merged.push(earlier);
                    }
                    merged.push(user);
                }
                merged.extend(recent);
                Bulk::Exact(merged)
            }
            Bulk::Exact(users) => {
                let mut filter = Bulk::Filter(vec![0; FILTER_WORDS]);
                filter.set(users);
                filter.set(recent);
                filter
            }
            Bulk::Filter(_) => {
                let mut filter = self.clone();
                filter.set(recent);
                filter
            }
        }
    }

    fn set(&mut self, users: &[UserHash]) {
        let Bulk::Filter(words) = self else { return };
        for (at, bit) in users.iter().flat_map(|user| bits(*user)) {
            if let Some(word) = words.get_mut(at) {
                *word |= bit;
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Bulk::Exact(users) => {
                bytes.push(0);
                users.iter().for_each(|user| bytes.extend_from_slice(&user.0.to_le_bytes()));
            }
            Bulk::Filter(words) => {
                bytes.push(1);
                words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, bytes) = bytes.split_first()?;
        let (chunks, _) = bytes.as_chunks();
        let words = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk));
        match kind {
            0 => Some(Bulk::Exact(words.map(UserHash).collect())),
            1 => Some(Bulk::Filter(words.collect())),
            _ => None,
        }
    }
}

/// The bits of a filter that a user sets: by word, and the bit in it.
fn bits(user: UserHash) -> impl Iterator<Item = (usize, u64)> {
    (0..BITS_OF_A_USER).map(move |nth| {
        let bit = user.0.checked_shr(BIT.saturating_mul(nth)).unwrap_or(0);
        let word = usize::try_from(bit / 64).unwrap_or(0) % FILTER_WORDS;
        (word, 1_u64.checked_shl((bit % 64) as u32).unwrap_or(0))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    /// A shelf without an Envoy.
    #[derive(Default)]
    pub(crate) struct Memory(pub(crate) HashMap<u64, Vec<u8>>);

    /// A shelf that takes nothing.
    struct Full;

    impl Shelf for Full {
        fn read(&self, _: u64) -> Option<Vec<u8>> {
            None
        }

        fn write(&mut self, _: &[u8]) -> Option<u64> {
            None
        }
    }

    impl Shelf for Memory {
        fn read(&self, name: u64) -> Option<Vec<u8>> {
            self.0.get(&name).cloned()
        }

        fn write(&mut self, bulk: &[u8]) -> Option<u64> {
            let name = self.0.len() as u64 + 1;
            self.0.insert(name, bulk.to_vec());
            Some(name)
        }
    }

    /// As another VM gets it.
    fn passed_on(set: &mut UserSet, shelf: &mut Memory) -> UserSet {
        set.put(shelf);
        let bytes = postcard::to_allocvec(set).unwrap();
        let mut other: UserSet = postcard::from_bytes(&bytes).unwrap();
        other.fetch(shelf);
        other
    }

    #[test]
    fn a_user_in_the_set_is_not_new() {
        let mut shelf = Memory::default();
        let mut rng = fastrand::Rng::with_seed(2);
        let (mut set, mut known) = (UserSet::default(), HashSet::new());
        for round in 0..20_000_u64 {
            let user = UserHash(rng.u64(..1 << 14) << 40);
            assert_eq!(set.insert(user), known.insert(user), "round {round}");
            if round % 701 == 0 {
                set = passed_on(&mut set, &mut shelf);
            }
        }
        assert_eq!(set.len(), Some(known.len()));
        set.retain(|user| user.0 >= 1 << 53);
        known.retain(|user| user.0 >= 1 << 53);
        let mut set = passed_on(&mut set, &mut shelf);
        assert_eq!(set.len(), Some(known.len()));
        assert!(known.iter().all(|user| !set.insert(*user)) && set.insert(UserHash(1)));
    }

    #[test]
    fn a_filter_loses_a_few_users_and_forgets_none() {
        let mut shelf = Memory::default();
        let mut rng = fastrand::Rng::with_seed(3);
        let mut set = UserSet::default();
        let users: Vec<UserHash> = (0..150_000).map(|_| UserHash(rng.u64(..))).collect();
        let lost = users.iter().filter(|user| !set.insert(**user)).count();
        assert_eq!(set.len(), None);
        assert!(lost < 500, "{lost} of {} were taken for known", users.len());
        let mut set = passed_on(&mut set, &mut shelf);
        assert!(users.iter().all(|user| !set.insert(*user)));
        let strangers = (0..10_000).filter(|_| !set.insert(UserHash(rng.u64(..)))).count();
        assert!(strangers < 150, "{strangers} of 10,000 strangers were taken for known");
        assert!(shelf.0.values().all(|bulk| bulk.len() <= MOST_EXACT * 8 + 1));
    }

    #[test]
    fn a_damaged_bulk_never_panics() {
        for bytes in [&[][..], &[0], &[1], &[2, 3], &[0, 1, 2, 3], &[1; 9]] {
            let mut shelf = Memory::default();
            let name = shelf.write(bytes).unwrap();
            let mut set = UserSet { name, ..UserSet::default() };
            set.fetch(&shelf);
            for user in 0..2_000 {
                set.insert(UserHash(user << 30));
            }
        }
    }

    /// A set whose users are in the bulk, for the most part.
    fn large() -> UserSet {
        let mut set = UserSet::default();
        (0..600_u64).for_each(|user| assert!(set.insert(UserHash(user << 30))));
        set
    }

    #[test]
    fn no_user_is_new_to_a_set_whose_bulk_is_missing() {
        let mut set = large();
        set.put(&mut Memory::default());
        let mut other = passed_on(&mut set, &mut Memory::default());
        assert!(other.is_unknown());
        let again = (0..2_000_u64).filter(|user| other.insert(UserHash(user << 30))).count();
        assert_eq!(again, 0);
        assert!(other.is_unknown(), "users that came later do not make it known");
    }

    #[test]
    fn a_bulk_that_was_not_written_is_unknown_to_others_and_written_the_next_time() {
        let (mut set, mut shelf) = (large(), Memory::default());
        set.put(&mut shelf);
        (600..1_200_u64).for_each(|user| assert!(set.insert(UserHash(user << 30))));
        set.put(&mut Full);
        let bytes = postcard::to_allocvec(&set).unwrap();
        let mut other: UserSet = postcard::from_bytes(&bytes).unwrap();
        other.fetch(&shelf);
        assert!(other.is_unknown(), "the bulk from before lacks users");
        assert!(!set.is_unknown(), "here it is still known");
        let other = passed_on(&mut set, &mut shelf);
        assert_eq!(other.len(), Some(1_200));
    }
}
