//! Executes what the protocol wants done: notices, log lines, metrics, answers.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::calls::{self, Metric};
use super::notices;
use super::shared::clock;
use crate::control::{api, view};
use crate::fleet::effect::{Answer, Effect};
use crate::rollout::event::{Action, Event};
use crate::telemetry::series::{self, Gauge, Rollout};

/// Gauges that are set between two looks at the clock.
const KNOWN_BETWEEN_LOOKS: usize = 64;

/// What is under way in one VM.
#[derive(Default)]
pub(super) struct Effects {
    /// Gauges to be set, in order: to define one costs Envoy as much as many requests, so a callback defines only some.
    gauges: RefCell<VecDeque<(Rc<Rollout>, Gauge, u64)>>,
    /// The ids of gauges by rollout.
    ids: RefCell<HashMap<Rc<Rollout>, HashMap<Gauge, u32>>>,
    /// Whether the weights in force may have changed.
    weights: Cell<bool>,
}

impl Effects {
    /// Does one thing, or notes it. `context` is the one that calls are about, and stays it.
    pub(super) fn perform(&self, context: u32, effect: Effect) {
        match effect {
            Effect::Wake { vm, reply_to } => notices::send(vm, reply_to),
            Effect::Routes => self.show_weights(),
            Effect::Happened { rollout, event } => happened(&rollout, &event),
            Effect::Gauge { rollout, gauge, value } => {
                self.gauges.borrow_mut().push_back((rollout, gauge, value));
            }
            Effect::Dropped { what, count } => {
                let metric = calls::define_metric(Metric::Counter, &series::dropped(what));
                metric.into_iter().for_each(|metric| calls::add(metric, count));
            }
            Effect::Gone(worker) => {
                ::log::warn!("worker {worker} no longer answers: its VM has failed, or Envoy is stopping it");
                let gauge = calls::define_metric(Metric::Gauge, &series::config_hash(worker));
                gauge.into_iter().for_each(|gauge| calls::record(gauge, 0));
            }
            Effect::Answer(Answer { stream, rollout, record, missing }) => {
                if stream == context || calls::set_context(stream) {
                    calls::respond(&api::changed(&rollout, Ok(&record), &missing, clock().now()));
                }
                if stream != context {
                    calls::set_context(context);
                }
            }
        }
    }

    /// The weights in force may have changed.
    pub(super) fn show_weights(&self) {
        self.weights.set(true);
    }

    /// Whether the weights in force may have changed since the last call.
    pub(super) fn weights_have_changed(&self) -> bool {
        self.weights.take()
    }

    /// Sets gauges while there is `time`, at least one. Returns whether some are left.
    pub(super) fn set_gauges(&self, time: &dyn Fn() -> bool) -> bool {
        let (mut gauges, mut ids) = (self.gauges.borrow_mut(), self.ids.borrow_mut());
        let mut done = 0_usize;
        while let Some((rollout, gauge, value)) = gauges.pop_front() {
            let known = ids.get(&rollout).and_then(|ids| ids.get(&gauge)).copied();
            let id = known.or_else(|| {
                let id = calls::define_metric(Metric::Gauge, &gauge.name(&rollout))?;
                ids.entry(rollout).or_default().insert(gauge, id);
                Some(id)
            });
            id.into_iter().for_each(|id| calls::record(id, value));
            done = done.wrapping_add(1);
            // A look at the clock costs as much as a gauge that is known.
            if (known.is_none() || done.is_multiple_of(KNOWN_BETWEEN_LOOKS)) && !time() {
                break;
            }
        }
        !gauges.is_empty()
    }
}

/// Logs and counts what has happened to a rollout.
fn happened(rollout: &Rollout, event: &Event) {
    // The same that the API shows.
    if let Ok(line) = serde_json::to_string(&view::Event::new(&rollout.name, event)) {
        log::log!(level(event.action), "{line}");
    }
    // Events are rare: the metric is looked up for each.
    let name = series::actions(rollout, event.action.label(), event.actor.label());
    calls::define_metric(Metric::Counter, &name).into_iter().for_each(calls::increment);
}

/// What a person should look at is a warning.
fn level(action: Action) -> log::Level {
    match action {
        Action::Rollback | Action::Alarm | Action::Pause => log::Level::Warn,
        _ => log::Level::Info,
    }
}
