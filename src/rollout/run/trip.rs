//! The circuit breaker of a worker: what it has seen is acted on at once, as the judge's finding would be.

use super::{Now, Refused, Run, say};
use crate::analysis::look::Look;
use crate::model::Unit;
use crate::rollout::event::{Event, Finding};
use crate::rollout::program::Program;
use crate::telemetry::breaker::Trip;

/// What events call it.
const RULE: &str = "circuit_breaker";

impl Run {
    /// A worker's breaker has tripped. Acts once in an attempt: every worker comes here, and comes again.
    pub(super) fn trip(
        &mut self,
        program: &Program,
        trip: &Trip,
        now: Now,
        events: &mut Vec<Event>,
    ) -> Result<(), Refused> {
        let limit = program.analysis.as_ref().and_then(|analysis| analysis.breaker);
        let applies = !self.is_pinned(program)
            && !self.phase.is_taken_back()
            && !self.tripped
            && trip.assignment == self.assignment(program);
        let Some(limit) = limit.filter(|_| applies) else {
            return Err(Refused("the circuit breaker is about what is over".into()));
        };
        self.tripped = true;
        #[allow(clippy::cast_precision_loss)] // small counts
        let (value, threshold) = (trip.seen.candidate.events as f64, limit as f64);
        let finding = Finding {
            rule: RULE.into(),
            is_absolute: false,
            value,
            threshold,
            samples: Look::Events(trip.seen),
            unit: Unit::Requests,
        };
        let sentence = say::tripped(program, &trip.seen, self.candidate_weight(program));
        self.act_on(program, finding, sentence, now, events);
        Ok(())
    }
}
