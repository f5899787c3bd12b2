//! From samples to figures with 95 % intervals.
//!
//! In a round all variants share what the machine does; so a figure is first divided by its mean over the
//! round's variants. Over the rounds the mean of the middle half is taken, which an unlucky process does
//! not move. The interval is the bootstrap's: the same for rounds drawn with repetition, again and again. A
//! round is drawn as a whole, for its figures belong together.

use super::round::Sample;

const RESAMPLES: usize = 2_000;
/// The same samples give the same interval.
const SEED: u64 = 1;

/// A figure and its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// Halfway between its ends.
    pub(crate) fn middle(&self) -> f64 {
        self.low.midpoint(self.high)
    }

    /// The estimate of so many times the figure.
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self { value: self.value * factor, low: self.low * factor, high: self.high * factor }
    }

    pub(crate) fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// One figure of all samples.
pub(crate) struct Figures {
    /// By round and variant, divided by the round's mean.
    rounds: Vec<Vec<f64>>,
    /// What a round's mean usually is.
    level: f64,
}

impl Figures {
    /// The `figure` of samples by round and variant.
    pub(crate) fn of(samples: &[Vec<Sample>], figure: impl Fn(&Sample) -> f64) -> Self {
        let mut levels = Vec::with_capacity(samples.len());
        let round = |samples: &Vec<Sample>| {
            let level = mean(samples.iter().map(&figure));
            levels.push(level);
            samples.iter().map(|sample| figure(sample) / level).collect()
        };
        Self { rounds: samples.iter().map(round).collect(), level: middle(levels) }
    }

    /// The figure of a variant.
    pub(crate) fn figure(&self, variant: usize) -> Estimate {
        self.estimate(|of| of(variant) * self.level)
    }

    /// One variant's figure as a multiple of another's.
    pub(crate) fn ratio(&self, variant: usize, to: usize) -> Estimate {
        self.estimate(|of| of(variant) / of(to))
    }

    /// What one variant adds to `base`, as a multiple of what another adds to it.
    pub(crate) fn added(&self, variant: usize, to: usize, base: usize) -> Estimate {
        self.estimate(|of| (of(variant) - of(base)) / (of(to) - of(base)))
    }

    /// What one variant adds to its base, as a multiple of what another adds to its own.
    pub(crate) fn added_each(&self, added: (usize, usize), to: (usize, usize)) -> Estimate {
        self.estimate(|of| (of(added.0) - of(added.1)) / (of(to.0) - of(to.1)))
    }

    /// The difference of two variants' figures.
    pub(crate) fn difference(&self, variant: usize, base: usize) -> Estimate {
        self.estimate(|of| (of(variant) - of(base)) * self.level)
    }

    /// Estimates what `value` computes of the variants' figures.
    fn estimate(&self, value: impl Fn(&dyn Fn(usize) -> f64) -> f64) -> Estimate {
        let over = |rounds: &[usize]| {
            value(&|variant| middle(rounds.iter().map(|round| self.rounds[*round][variant]).collect()))
        };
        let all: Vec<usize> = (0..self.rounds.len()).collect();
        let mut rng = fastrand::Rng::with_seed(SEED);
        let mut drawn = || {
            let rounds: Vec<usize> = all.iter().map(|_| rng.usize(..all.len())).collect();
            over(&rounds)
        };
        let mut resampled: Vec<f64> = (0..RESAMPLES).map(|_| drawn()).collect();
        resampled.sort_unstable_by(f64::total_cmp);
        let tail = RESAMPLES / 40; // 2.5 %
        Estimate { value: over(&all), low: resampled[tail], high: resampled[RESAMPLES - 1 - tail] }
    }
}

/// The mean of the middle half.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let quarter = values.len() / 4;
    mean(values[quarter..values.len() - quarter].iter().copied())
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = u32::try_from(values.len()).expect("few");
    values.sum::<f64>() / f64::from(count)
}
