//! What a test has seen, as people read it: of one tick, or of many added up.

use serde::{Deserialize, Serialize};

use super::kernel::ratio::Table;
use crate::model::{Arm, Pair, Side};
use crate::signal::sums::Sums;

/// What a test has seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Totals {
    /// Events among units.
    Events(Table),
    /// Values.
    Means(Pair<Sums>),
}

/// No event among no units.
impl Default for Totals {
    fn default() -> Self {
        Self::Events(Table::default())
    }
}

impl Totals {
    /// How many requests, users or values it is of.
    #[must_use]
    pub fn units(&self) -> Pair<u64> {
        match self {
            Self::Events(table) => table.map(|arm| arm.units),
            Self::Means(sums) => sums.map(|sums| sums.count),
        }
    }

    /// Both together; of different kinds the newer one.
    #[must_use]
    pub fn plus(self, newer: Self) -> Self {
        match (self, newer) {
            (Self::Events(old), Self::Events(new)) => {
                let mut table = old.zip_with(new, Arm::plus);
                // A sample may miss users that came, but not what happened to them.
                for side in Side::BOTH {
                    table[side].units = table[side].units.max(table[side].events);
                }
                Self::Events(table)
            }
            (Self::Means(old), Self::Means(new)) => Self::Means(old.zip_with(new, Sums::plus)),
            (_, newer) => newer,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The events that were seen.
    pub(crate) fn table(totals: Totals) -> Table {
        match totals {
            Totals::Events(table) => table,
            Totals::Means(_) => panic!("events are judged"),
        }
    }
}
