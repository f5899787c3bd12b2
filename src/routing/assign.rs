//! Which version a user gets: a pure function of the release's salt, the user's key and the weights.
//!
//! It is a promise to users, the same on every worker and proxy and in every version of this software:
//! `docs/assignment.md` describes it, `docs/assignment-vectors.json` pins it. A key is hashed into one of
//! 10,000 buckets; the buckets are divided among the versions so that a version that grows takes buckets
//! from stable and, with at most two versions besides stable, from no other version.

use siphasher::sip::SipHasher24;

use crate::model::Share;

/// Buckets a key can fall into: one for each hundredth of a percent.
pub const BUCKETS: u16 = Share::ALL.basis_points();

/// A release's keyed hash. Two releases with different salts draw independent cohorts.
#[derive(Clone, Copy, Debug)]
pub struct Salt(SipHasher24);

impl Salt {
    /// The hash for a salt: SipHash-2-4 whose 128-bit key is made of the salt by SipHash-2-4 under the keys
    /// (0, 0) and (0, 1). A keyed hash, so that keys for a bucket can be found only by trying.
    #[must_use]
    pub fn new(salt: &str) -> Self {
        let half = |n| SipHasher24::new_with_keys(0, n).hash(salt.as_bytes());
        Self(SipHasher24::new_with_keys(half(0), half(1)))
    }

    /// The hash with this key.
    #[must_use]
    pub fn with_key([a, b]: [u64; 2]) -> Self {
        Self(SipHasher24::new_with_keys(a, b))
    }

    /// The bucket of a user's key.
    #[must_use]
    pub fn bucket(&self, key: &[u8]) -> u16 {
        to_bucket(self.hash(key))
    }

    /// The hash of a user's key.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash(key)
    }
}

/// The bucket of a uniformly drawn number: its remainder. The bias of 10,000 not dividing 2^64 is below 1e-15.
#[must_use]
#[allow(clippy::cast_possible_truncation)] // a remainder of 10,000
pub fn to_bucket(drawn: u64) -> u16 {
    const COUNT: u64 = BUCKETS as u64;
    (drawn % COUNT) as u16
}

/// How the buckets are divided among the versions of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Segments `[start, end)` of the versions besides stable that have any, with the version's rank.
    segments: Vec<(u16, u16, usize)>,
}

impl Split {
    /// Divides the buckets. `shares` are those of the versions besides stable, sorted by name, zero for a
    /// version that gets nothing: a version keeps its place whatever the others' weights. Their sum must
    /// not exceed [`BUCKETS`]; what is above gets no buckets.
    ///
    /// The first version grows from the left end, the second from the right end. Each further one has an
    /// anchor, spaced evenly in between, and grows from it to both sides; where two meet, they push.
    #[must_use]
    pub fn new(shares: &[u16]) -> Self {
        let line: Vec<(usize, i32, i32)> = on_the_line(shares);
        let mut segments = Vec::with_capacity(line.len());
        for (rank, start, end) in line {
            if let (Ok(start), Ok(end)) = (u16::try_from(start), u16::try_from(end))
                && start < end
            {
                segments.push((start, end, rank));
            }
        }
        Self { segments }
    }

    /// The version a bucket belongs to: its rank in the `shares` the split was made of, or `None` for stable.
    #[must_use]
    pub fn version(&self, bucket: u16) -> Option<usize> {
        let inside = |&&(start, end, _): &&(u16, u16, usize)| start <= bucket && bucket < end;
        self.segments.iter().find(inside).map(|&(_, _, rank)| rank)
    }
}

/// The versions' segments (rank, start, end) from left to right, none overlapping.
fn on_the_line(shares: &[u16]) -> Vec<(usize, i32, i32)> {
    let right_end = i32::from(BUCKETS);
    let inner = i32::try_from(shares.len().saturating_sub(2)).unwrap_or(i32::MAX);
    let anchor = |nth: i32| right_end.saturating_mul(nth).checked_div(inner.saturating_add(1)).unwrap_or(0);

    let mut line = Vec::with_capacity(shares.len());
    let mut of = shares.iter().map(|&share| i32::from(share)).enumerate();
    let first = of.next();
    let second = of.next();
    if let Some((rank, width)) = first {
        line.push((rank, 0, width));
    }
    for ((rank, width), nth) in of.zip(1..) {
        let start = anchor(nth).saturating_sub(width / 2);
        line.push((rank, start, start.saturating_add(width)));
    }
    if let Some((rank, width)) = second {
        line.push((rank, right_end.saturating_sub(width), right_end));
    }

    // Where neighbours overlap they move to the right, then whatever hangs over the right end moves back.
    let mut free = 0_i32;
    for (_, start, end) in &mut line {
        let shift = free.saturating_sub(*start).max(0);
        (*start, *end) = (start.saturating_add(shift), end.saturating_add(shift));
        free = *end;
    }
    let mut free = right_end;
    for (_, start, end) in line.iter_mut().rev() {
        let shift = end.saturating_sub(free).max(0);
        (*start, *end) = (start.saturating_sub(shift).max(0), end.saturating_sub(shift).max(0));
        free = *start;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many buckets change from one version (`None`: stable) to another, by (from, to).
    fn moves(before: &Split, after: &Split) -> Vec<(Option<usize>, Option<usize>)> {
        let of = |split: &Split, bucket| split.version(bucket);
        (0..BUCKETS).map(|b| (of(before, b), of(after, b))).filter(|(from, to)| from != to).collect()
    }

    fn widths(split: &Split, versions: usize) -> Vec<u16> {
        let mut widths = vec![0; versions];
        for bucket in 0..BUCKETS {
            if let Some(rank) = split.version(bucket) {
                widths[rank] += 1;
            }
        }
        widths
    }

    /// Shares of up to `most` versions whose sum is at most 100 %.
    fn shares(versions: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u16>> {
        // Both crowded lines and ones with room between the segments.
        let share = || prop_oneof![0..=BUCKETS, 0..=700_u16];
        prop::collection::vec(share(), versions).prop_map(|wanted| {
            let mut left = BUCKETS;
            wanted
                .into_iter()
                .map(|share| {
                    let share = share.min(left);
                    left -= share;
                    share
                })
                .collect()
        })
    }

    /// Shares, and the same after one version has taken some of stable's.
    fn growth(
        versions: std::ops::RangeInclusive<usize>,
    ) -> impl Strategy<Value = (Vec<u16>, Vec<u16>, usize)> {
        (shares(versions), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
            |(before, who, by)| {
                let who = who.index(before.len());
                let left = BUCKETS - before.iter().sum::<u16>();
                let mut after = before.clone();
                after[who] += u16::try_from(by.index(usize::from(left) + 1)).unwrap_or(0);
                (before, after, who)
            },
        )
    }

    proptest! {
        #[test]
        fn every_version_gets_its_share_exactly(shares in shares(0..=15)) {
            prop_assert_eq!(widths(&Split::new(&shares), shares.len()), shares);
        }

        #[test]
        fn beside_two_versions_growth_takes_from_stable_only((before, after, who) in growth(1..=2)) {
            for change in moves(&Split::new(&before), &Split::new(&after)) {
                prop_assert_eq!(change, (None, Some(who)));
            }
        }

        /// The bound that docs/assignment.md states: n versions besides stable, one grows by δ.
        #[test]
        fn beside_more_versions_growth_moves_few((before, after, who) in growth(3..=15)) {
            let delta = usize::from(after[who] - before[who]);
            let moved = moves(&Split::new(&before), &Split::new(&after)).len();
            let bound = (before.len() - 1) * delta;
            prop_assert!(moved <= bound, "{} moved, bound {} ({:?} → {:?})", moved, bound, before, after);
        }

        #[test]
        fn too_large_shares_never_panic_or_overlap(shares in prop::collection::vec(0..=BUCKETS, 0..=16)) {
            let split = Split::new(&shares);
            prop_assert!(split.segments.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }

    #[test]
    fn with_room_between_them_versions_grow_from_stable_only() {
        // Three versions at up to 20 % each do not touch.
        let before = Split::new(&[1_000, 500, 2_000]);
        for (after, who) in [([2_000, 500, 2_000], 0), ([1_000, 2_000, 2_000], 1), ([1_000, 500, 2_500], 2)] {
            assert!(moves(&before, &Split::new(&after)).iter().all(|&change| change == (None, Some(who))));
        }
    }

    #[test]
    fn another_salt_draws_another_cohort() {
        // Independent cohorts of 20 % share 4 % of the users.
        let (one, two) = (Salt::new("2026-11-24.1"), Salt::new("2026-11-24.2"));
        let inside = |salt: &Salt, user: u32| salt.bucket(user.to_string().as_bytes()) < 2_000;
        let both = (0..100_000).filter(|&user| inside(&one, user) && inside(&two, user)).count();
        assert!((3_752..=4_248).contains(&both), "{both} of 100,000, expected 4,000 ± 4 sd");
    }

    #[test]
    fn keys_spread_evenly_over_the_buckets() {
        let salt = Salt::new("release");
        let mut counts = vec![0_u32; usize::from(BUCKETS)];
        for user in 0..1_000_000_u32 {
            counts[usize::from(salt.bucket(&user.to_le_bytes()))] += 1;
        }
        // Chi-squared with 9,999 degrees of freedom: mean 9,999, standard deviation 141.
        let chi: f64 = counts.iter().map(|&n| (f64::from(n) - 100.0).powi(2) / 100.0).sum();
        assert!((chi - 9_999.0).abs() < 5.0 * 141.4, "{chi}");
    }
}
