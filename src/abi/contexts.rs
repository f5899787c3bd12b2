//! Contexts by the number that the host gives them.

use slab::Slab;

/// No entry.
const END: usize = usize::MAX;

/// Contexts by number. Every callback of a request begins with a look-up here, so it is a table for what numbers are:
/// the host counts them up, and those that live at the same time differ in their lowest bits.
#[derive(Debug)]
pub struct Contexts<T> {
    /// By the lowest bits of a number, the first entry of its chain. As many as a power of two, and not fewer than entries.
    chains: Vec<usize>,
    entries: Slab<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    number: u32,
    /// The next entry of its chain.
    next: usize,
    context: T,
}

impl<T> Contexts<T> {
    /// No contexts.
    #[must_use]
    pub const fn new() -> Self {
        Self { chains: Vec::new(), entries: Slab::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The contexts at a position and behind it, with their positions and numbers. A position is a context's as long as it
    /// is there.
    pub fn behind(&self, position: usize) -> impl Iterator<Item = (usize, u32, &T)> {
        let entries = self.entries.iter().skip_while(move |(key, _)| *key < position);
        entries.map(|(key, entry)| (key, entry.number, &entry.context))
    }

    /// Adds a context. The host uses a number again only when its context is gone.
    pub fn insert(&mut self, number: u32, context: T) {
        if self.entries.len() >= self.chains.len() {
            self.grow();
        }
        let key = self.entries.insert(Entry { number, next: END, context });
        self.link(key);
    }

    /// The context with that number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&T> {
        let (_, at) = self.find(number)?;
        self.entries.get(at).map(|entry| &entry.context)
    }

    /// The context with that number.
    #[must_use]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (_, at) = self.find(number)?;
        self.entries.get_mut(at).map(|entry| &mut entry.context)
    }

    /// Takes a context out.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        let (before, at) = self.find(number)?;
        let entry = self.entries.try_remove(at)?;
        let chain = self.chain(number);
        match self.entries.get_mut(before) {
            Some(before) => before.next = entry.next,
            None => self.chains.get_mut(chain).into_iter().for_each(|first| *first = entry.next),
        }
        Some(entry.context)
    }

    /// The entry with that number, and the one before it in its chain.
    fn find(&self, number: u32) -> Option<(usize, usize)> {
        let (mut before, mut at) = (END, self.chains.get(self.chain(number)).copied()?);
        loop {
            let entry = self.entries.get(at)?;
            if entry.number == number {
                return Some((before, at));
            }
            (before, at) = (at, entry.next);
        }
    }

    /// The position of a number's chain.
    fn chain(&self, number: u32) -> usize {
        usize::try_from(number).unwrap_or(0) & self.chains.len().wrapping_sub(1)
    }

    /// Puts an entry at the beginning of its chain.
    fn link(&mut self, key: usize) {
        let Some(number) = self.entries.get(key).map(|entry| entry.number) else { return };
        let chain = self.chain(number);
        if let (Some(first), Some(entry)) = (self.chains.get_mut(chain), self.entries.get_mut(key)) {
            entry.next = std::mem::replace(first, key);
        }
    }

    fn grow(&mut self) {
        let length = self.chains.len().saturating_mul(2).max(64);
        self.chains.clear();
        self.chains.resize(length, END);
        let keys: Vec<usize> = self.entries.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.link(key));
    }
}

impl<T> Default for Contexts<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fastrand::Rng;

    use super::Contexts;

    #[test]
    fn contexts_are_found_by_number_until_they_are_removed() {
        let (mut contexts, mut expected) = (Contexts::new(), BTreeMap::new());
        let mut rng = Rng::with_seed(1);
        for number in 0..20_000_u32 {
            contexts.insert(number, number);
            expected.insert(number, number);
            // Most are short; some outlive thousands of others.
            while expected.len() > 100 && rng.u8(..) > 2 {
                let gone = *expected.keys().nth(rng.usize(..expected.len())).expect("one of them");
                assert_eq!(contexts.remove(gone), expected.remove(&gone));
                assert_eq!(contexts.remove(gone), None, "{gone} is gone");
                assert_eq!(contexts.get(gone), None);
                assert_eq!(contexts.get_mut(gone), None);
            }
            assert_eq!(contexts.len(), expected.len());
        }
        for (number, context) in &mut expected {
            assert_eq!(contexts.get(*number), Some(&*context));
            assert_eq!(contexts.get_mut(*number), Some(context));
        }
    }

    #[test]
    fn contexts_whose_numbers_end_alike_are_distinct() {
        let mut contexts = Contexts::new();
        let numbers = [7, 7 + 64, 7 + 4_096, 7 + (1 << 31)];
        numbers.into_iter().for_each(|number| contexts.insert(number, number));
        for (at, gone) in [(2, numbers[2]), (0, numbers[0]), (3, numbers[3]), (1, numbers[1])] {
            assert_eq!(contexts.remove(gone), Some(gone), "number {at}");
            assert_eq!(contexts.get(gone), None);
        }
        assert!(contexts.is_empty());
    }

    #[test]
    fn the_table_grows_with_contexts_that_live_and_not_with_those_that_lived() {
        let mut contexts = Contexts::new();
        for number in 0..100_000 {
            contexts.insert(number, ());
            assert!(number < 100 || contexts.remove(number - 100).is_some());
        }
        assert_eq!(contexts.chains.len(), 128);
    }
}
