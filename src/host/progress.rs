//! Where rollouts stand, as gauges. Only of those that move by themselves or are judged: the others' weights say
//! it all.

use std::collections::HashMap;

use super::calls::{self, Metric};
use super::rollouts::{Configured, Records};
use crate::analysis::window;
use crate::rollout::phase::Phase;
use crate::rollout::record::Record;
use crate::telemetry::series;

/// The gauges that have been shown, by name.
#[derive(Default)]
pub(super) struct Progress {
    gauges: HashMap<String, Gauge>,
}

struct Gauge {
    id: Option<u32>,
    value: u64,
    /// Whether it was shown in this round; the others' rollouts are gone.
    current: bool,
}

impl Progress {
    /// Shows where all rollouts stand; what is configured no more goes to 0.
    pub(super) fn show(&mut self, configured: &[Configured<'_>], records: &Records) {
        self.gauges.values_mut().for_each(|gauge| gauge.current = false);
        for rollout in configured {
            if let Some(record) = records.get(rollout.name)
                && (record.value.program.rules().is_some() || !record.value.program.steps.is_empty())
            {
                self.show_one(rollout, &record.value);
            }
        }
        self.gauges.values_mut().filter(|gauge| !gauge.current).for_each(|gauge| gauge.set(0));
    }

    /// Shows everything anew: somebody else has shown it meanwhile.
    pub(super) fn forget(&mut self) {
        self.gauges.values_mut().for_each(|gauge| gauge.value = u64::MAX);
    }

    fn show_one(&mut self, rollout: &Configured<'_>, record: &Record) {
        let run = &record.run;
        let of = |metric: &str, label: &str, value: &str| {
            series::of_rollout(metric, rollout.name, label, value, rollout.labels)
        };
        for phase in Phase::ALL {
            self.set(of("changeover_phase", "phase", phase.label()), u64::from(phase == run.phase));
        }
        self.set(of("changeover_step", "", ""), u64::try_from(run.position).unwrap_or(0));
        let Some(rules) = record.program.rules() else { return };
        let values = run.judge.reading();
        let all = values.all.max(run.window().unwrap_or(0.0));
        self.set(of("changeover_evidence", "metric", "all"), thousandths(all));
        if let Some(value) = run.window() {
            self.set(of("changeover_evidence", "metric", &window::metric()), thousandths(value));
        }
        self.set(of("changeover_evidence_threshold", "metric", "all"), thousandths(rules.threshold));
        for (metric, value) in rules.metrics.iter().zip(values.metrics) {
            self.set(of("changeover_evidence", "metric", &metric.name), thousandths(value));
        }
        // Before anything is observed in a step: what should be.
        let share = run.judge.observed_share().or_else(|| run.candidate_share(&record.program));
        if let (Some(share), Some(candidate)) = (share, &record.program.candidate) {
            let hundredths = (share * 10_000.0).round();
            self.set(of("changeover_observed_share", "version", candidate), whole(hundredths));
            self.set(
                of("changeover_observed_share", "version", &record.program.stable),
                whole(10_000.0 - hundredths),
            );
        }
    }

    fn set(&mut self, name: String, value: u64) {
        if !self.gauges.contains_key(&name) {
            let id = calls::define_metric(Metric::Gauge, &name);
            self.gauges.insert(name.clone(), Gauge { id, value: u64::MAX, current: true });
        }
        if let Some(gauge) = self.gauges.get_mut(&name) {
            gauge.set(value);
            gauge.current = true;
        }
    }
}

impl Gauge {
    fn set(&mut self, value: u64) {
        if let (Some(id), true) = (self.id, self.value != value) {
            calls::record(id, value);
        }
        self.value = value;
    }
}

/// Thousandths of the decimal logarithm: Envoy's gauges are whole numbers from 0 on.
fn thousandths(e_value: f64) -> u64 {
    whole((e_value.log10() * 1_000.0).round())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; what is below 0 is 0
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
