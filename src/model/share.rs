//! Parts of the traffic.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of the traffic in hundredths of a percent (basis points): 0 to 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share(u16);

/// Shares of versions by name. A version that is not in it has none.
pub type Shares = BTreeMap<String, Share>;

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything: 100 %.
    pub const ALL: Self = Self(10_000);

    /// The share of `basis_points` hundredths of a percent; above 100 % it is 100 %.
    #[must_use]
    pub const fn new(basis_points: u16) -> Self {
        if basis_points > Self::ALL.0 { Self::ALL } else { Self(basis_points) }
    }

    /// Hundredths of a percent.
    #[must_use]
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// Percent, with at most two decimals.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// A fraction, from 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL.0)
    }

    /// Whether there is nothing of it.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The sum with another share; at most everything.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }

    /// What is left without another share; nothing if that is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// What is left of everything without these shares.
    pub fn rest(of: impl IntoIterator<Item = Self>) -> Self {
        of.into_iter().fold(Self::ALL, Self::minus)
    }
}

/// `5 %`, `0.25 %`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

/// Shares one by one. Collecting into a map sorts first, which costs the module kilobytes of code.
pub fn shares(of: impl IntoIterator<Item = (String, Share)>) -> Shares {
    let mut shares = Shares::new();
    shares.extend(of);
    shares
}
