//! Users: who comes, which version they have, and what luck.

use changeover::model::UserHash;
use changeover::routing::assign::Salt;
use fastrand::Rng;

use crate::draw::normal;

/// Of all users, those whose requests fail whichever version they have.
const HOPELESS: f64 = 0.01;
/// How unlike the others are: the deviations of their logarithms. That of failures is the reference's.
const FRAILTY: f64 = 1.5;
const PACE: f64 = 0.5;

/// A user.
pub(crate) struct Person {
    /// They have the candidate when this is below its weight.
    pub(crate) bucket: u16,
    /// Their name for the judge.
    pub(crate) name: Option<UserHash>,
    /// How many times as often as others' their requests fail; on average once, infinite for those who always fail.
    pub(crate) frailty: f64,
    /// How many times as long their answers take.
    pub(crate) pace: f64,
    /// Between 0 and 1: whom a candidate that fails for a part of its users fails for.
    pub(crate) rank: f64,
    /// A request of theirs has failed in this run.
    pub(crate) has_failed: bool,
}

impl Person {
    /// Where the requests come from that belong to no user of this run.
    pub(crate) const ANYBODY: Self =
        Self { bucket: 0, name: None, frailty: 1.0, pace: 1.0, rank: 1.0, has_failed: false };
}

/// The users of one run.
pub(crate) struct People {
    people: Vec<Person>,
    /// They come equally often.
    alike: bool,
    /// ln(2 n + 1).
    span: f64,
}

impl People {
    /// Draws `count` users, of very different luck or `alike`, and, by the shipped hash under a salt of their
    /// own, their versions.
    pub(crate) fn new(count: usize, alike: bool, rng: &mut Rng) -> Self {
        let salt = format!("{:016x}", rng.u64(..));
        let (buckets, names) = (Salt::new(&salt), Salt::new(&format!("{salt}\0user")));
        let mut person = |number: usize| {
            let key = number.to_le_bytes();
            // E[exp(s Z)] = exp(s² / 2): so the average is 1.
            let frailty = (FRAILTY * normal(rng) - FRAILTY * FRAILTY / 2.0).exp();
            let hopeless = rng.f64() < HOPELESS;
            Person {
                bucket: buckets.bucket(&key),
                name: Some(UserHash(names.hash(&key))),
                frailty: match (alike, hopeless) {
                    (true, _) => 1.0,
                    (false, true) => f64::INFINITY,
                    (false, false) => frailty,
                },
                pace: if alike { 1.0 } else { (PACE * normal(rng)).exp() },
                rank: rng.f64(),
                has_failed: false,
            }
        };
        Self { alike, people: (0..count).map(&mut person).collect(), span: (2.0 * count as f64 + 1.0).ln() }
    }

    /// Whose request comes next.
    pub(crate) fn next(&mut self, rng: &mut Rng) -> &mut Person {
        let index = if self.alike { rng.usize(0..self.people.len()) } else { self.by_zipf(rng) };
        &mut self.people[index]
    }

    /// The k-th comes 1/k times as often as the first (Zipf's law). By rejection from the density 1/x between
    /// k − ½ and k + ½, which nine of ten draws and more pass.
    fn by_zipf(&self, rng: &mut Rng) -> usize {
        loop {
            let rank = (0.5 * (self.span * rng.f64()).exp()).round().clamp(1.0, self.people.len() as f64);
            // One in 12 k² does not pass.
            if rank > 1_000.0 || rng.f64() * rank * ((2.0 * rank + 1.0) / (2.0 * rank - 1.0)).ln() < 1.0 {
                return rank as usize - 1;
            }
        }
    }
}
