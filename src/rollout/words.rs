//! Figures as people read them in sentences.

use std::fmt;

/// A share that is configured, in percent: 0.57 × 100 is 56.999….
#[must_use]
pub(super) fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// A rate: `1.46 %`.
pub(super) struct Rate(pub(super) f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} %", self.0 * 100.0)
    }
}

/// An e-value, given as its decimal logarithm.
pub(super) struct EValue(pub(super) f64);

impl fmt::Display for EValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 6.0 {
            // Not powf, which would be in the module for this alone.
            write!(f, "{:.0} to 1", (self.0 * std::f64::consts::LN_10).exp())
        } else {
            write!(f, "10^{:.0} to 1", self.0)
        }
    }
}

/// A length of time, whole: `90 s`, `2 min 30 s`, `2 h 30 min`.
pub(super) struct Milliseconds(pub(super) u64);

impl Milliseconds {
    /// Each unit, and the length from which on it is the first to be written: of minutes and hours there are then two.
    const UNITS: [(u64, u64, &str); 4] =
        [(3_600_000, 7_200_000, "h"), (60_000, 120_000, "min"), (1_000, 1_000, "s"), (1, 0, "ms")];
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut space) = (self.0, "");
        for (unit, _, name) in Self::UNITS.into_iter().skip_while(|(_, from, _)| self.0 < *from) {
            let count = rest.checked_div(unit).unwrap_or(0);
            rest = rest.checked_rem(unit).unwrap_or(0);
            if count > 0 {
                write!(f, "{space}{count} {name}")?;
                space = " ";
            }
        }
        if space.is_empty() { f.write_str("0 ms") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_not_cut_off() {
        for (milliseconds, text) in [
            (0, "0 ms"),
            (500, "500 ms"),
            (1_000, "1 s"),
            (1_500, "1 s 500 ms"),
            (60_000, "60 s"),
            (90_000, "90 s"),
            (119_999, "119 s 999 ms"),
            (120_000, "2 min"),
            (150_000, "2 min 30 s"),
            (3_600_000, "60 min"),
            (5_400_000, "90 min"),
            (7_199_000, "119 min 59 s"),
            (7_200_000, "2 h"),
            (9_000_000, "2 h 30 min"),
            (9_030_000, "2 h 30 min 30 s"),
            (90_000_000, "25 h"),
        ] {
            assert_eq!(Milliseconds(milliseconds).to_string(), text);
        }
    }

    #[test]
    fn a_configured_share_is_written_as_it_was_meant() {
        assert_eq!([0.57, 0.9, 0.9999, 0.01].map(percent), [57.0, 90.0, 99.99, 1.0]);
    }
}
