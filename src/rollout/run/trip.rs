//! The circuit breaker of a worker: what it has seen is acted on at once, as the judge's finding would be.

use super::say;
use super::turn::Turn;
use crate::analysis::totals::Totals;
use crate::model::{Unit, real};
use crate::rollout::command::Refused;
use crate::rollout::event::Finding;
use crate::telemetry::breaker::Trip;

/// What events call it.
pub(super) const TRIPPED: &str = "circuit_breaker";

/// Why a report is refused.
pub(super) const OUT_OF_DATE: &str = "the circuit breaker's report is out of date and was ignored";

impl Turn<'_> {
    /// A worker's breaker has tripped. Acts once in an attempt: every worker comes here, and comes again.
    pub(super) fn trip(&mut self, trip: &Trip) -> Result<(), Refused> {
        if self.program.automation.is_some() {
            return self.miss(trip);
        }
        let analysis = self.program.analysis.as_ref();
        let configured = analysis.and_then(|analysis| Some((analysis.breaker?, analysis.policy)));
        let applies = !self.is_pinned()
            && !self.run.phase.is_rolled_back()
            && !self.run.tripped
            && trip.assignment == self.run.assignment(self.program);
        let Some((limit, policy)) = configured.filter(|_| applies) else {
            return Err(Refused(OUT_OF_DATE.into()));
        };
        self.run.tripped = true;
        let finding = Finding {
            rule: TRIPPED.into(),
            is_absolute: false,
            value: real(trip.seen.candidate.events),
            threshold: real(limit),
            samples: Totals::Events(trip.seen),
            unit: Unit::Requests,
        };
        let weight = self.run.candidate_weight(self.program);
        let act = policy.act(self.run.phase);
        self.act_on(act, finding, say::tripped(self.program, &trip.seen, weight));
        Ok(())
    }
}
