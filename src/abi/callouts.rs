//! Callouts under way. Each ends once: with its answer, with the root whose callout it is, or some time after Envoy should
//! have ended it.

use crate::model::SortedMap;

/// What the open callouts of one VM are about, by the numbers that Envoy gave them.
#[derive(Debug)]
pub struct Callouts<T>(SortedMap<u32, Open<T>>);

#[derive(Debug)]
struct Open<T> {
    root: u32,
    /// When it is no longer waited for, in nanoseconds.
    until: u64,
    about: T,
}

impl<T> Default for Callouts<T> {
    fn default() -> Self {
        Self(SortedMap::default())
    }
}

impl<T> Callouts<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A callout of `root` begins. `until`: when it is no longer waited for, in nanoseconds; later than Envoy ends it.
    pub fn begin(&mut self, token: u32, root: u32, until: u64, about: T) {
        self.0.insert(token, Open { root, until, about });
    }

    /// What an open one is about.
    #[must_use]
    pub fn get(&self, token: u32) -> Option<&T> {
        self.0.get(&token).map(|open| &open.about)
    }

    /// It ends. Returns what it was about; `None`: it has ended already.
    pub fn end(&mut self, token: u32) -> Option<T> {
        self.0.remove(&token).map(|open| open.about)
    }

    /// Those that Envoy ends without an answer because their root goes.
    #[must_use]
    pub fn of_root(&self, root: u32) -> Vec<u32> {
        self.tokens(|open| open.root == root)
    }

    /// Those that Envoy should have ended before `now`.
    #[must_use]
    pub fn overdue(&self, now: u64) -> Vec<u32> {
        self.tokens(|open| open.until < now)
    }

    fn tokens(&self, is_meant: impl Fn(&Open<T>) -> bool) -> Vec<u32> {
        self.0.iter().filter(|(_, open)| is_meant(open)).map(|(token, _)| *token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_callout_ends_once(deeds in prop::collection::vec((0..4_u8, 0..12_u32, 0..3_u32), 0..80)) {
            let mut callouts = Callouts::default();
            let (mut begun, mut ended, mut now) = (0, 0, 0);
            for (deed, token, root) in deeds {
                now += 1;
                match deed {
                    0 if callouts.get(token).is_none() => {
                        callouts.begin(token, root, now + 10, token);
                        begun += 1;
                    }
                    1 => ended += callouts.end(token).map_or(0, |about| {
                        assert_eq!(about, token);
                        1
                    }),
                    2 => {
                        let of_root = callouts.of_root(root);
                        ended += of_root.iter().filter_map(|token| callouts.end(*token)).count();
                        prop_assert!(callouts.of_root(root).is_empty());
                    }
                    _ => {
                        now += 5;
                        let overdue = callouts.overdue(now);
                        ended += overdue.iter().filter_map(|token| callouts.end(*token)).count();
                        prop_assert!(callouts.overdue(now).is_empty());
                    }
                }
                prop_assert_eq!(callouts.len(), begun - ended);
            }
        }
    }
}
