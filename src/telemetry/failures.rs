//! Which answers are failures of the version that gave them.

use crate::config::release::ErrorWhen;

/// Which answers are failures of the version that gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// Statuses of three digits: one bit each.
    statuses: [u64; 16],
    /// Statuses of gRPC: one bit each.
    grpc: u32,
}

impl Default for Failures {
    /// 5xx, and gRPC's UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS
    /// (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).
    fn default() -> Self {
        Self::new(&ErrorWhen::default())
    }
}

impl Failures {
    /// Compiles a valid configuration.
    #[must_use]
    pub fn new(when: &ErrorWhen) -> Self {
        let mut failures = Self { statuses: [0; 16], grpc: 0 };
        for status in &when.status {
            let first = status.replace('x', "0").parse().unwrap_or(0);
            let count = if status.ends_with("xx") { 100 } else { 1 };
            for status in (first..).take(count) {
                if let Some((word, bit)) = place(status)
                    && let Some(word) = failures.statuses.get_mut(word)
                {
                    *word |= bit;
                }
            }
        }
        for status in &when.grpc_status {
            failures.grpc |= grpc_bit(status.get());
        }
        failures
    }

    pub(super) fn has_status(&self, status: u64) -> bool {
        place(status).is_some_and(|(word, bit)| self.statuses.get(word).is_some_and(|word| word & bit != 0))
    }

    pub(super) fn has_grpc(&self, status: u64) -> bool {
        self.grpc & grpc_bit(status) != 0
    }
}

/// Where a status' bit is.
fn place(status: u64) -> Option<(usize, u64)> {
    let bit = u32::try_from(status % 64).ok().and_then(|bit| 1_u64.checked_shl(bit))?;
    Some((usize::try_from(status / 64).ok()?, bit))
}

fn grpc_bit(status: u64) -> u32 {
    u32::try_from(status).ok().and_then(|status| 1_u32.checked_shl(status)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_http_does_not_have_can_be_chosen() {
        for status in ["099", "600", "777", "999"] {
            let when = ErrorWhen { status: vec![status.into()], grpc_status: Vec::new() };
            let number = status.parse().unwrap();
            assert!(Failures::new(&when).has_status(number), "{status}");
            assert!(!Failures::new(&when).has_status(number + 1) && !Failures::new(&when).has_status(503));
        }
        let classes = Failures::new(&ErrorWhen { status: vec!["9xx".into()], grpc_status: Vec::new() });
        assert!(classes.has_status(900) && classes.has_status(999));
        assert!(!classes.has_status(899) && !classes.has_status(1_000));
    }
}
