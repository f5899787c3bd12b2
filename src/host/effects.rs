//! Executes what the protocol wants done: notices, log lines, metrics, answers.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::calls::{self, Metric};
use super::notices;
use super::questions::Questions;
use super::shared::clock;
use crate::control::{api, view};
use crate::fleet::effect::{Answer, Effect};
use crate::rollout::event::{Action, Event};
use crate::rollout::ready;
use crate::telemetry::series::{self, Gauge, Rollout};

/// Gauges that are set between two looks at the clock.
const KNOWN_BETWEEN_LOOKS: usize = 64;

/// What is under way in one VM. To define a metric costs Envoy as much as many requests, so a callback does only some of
/// what defines them.
#[derive(Default)]
pub(super) struct Effects {
    /// Events to be logged and counted, in order.
    events: RefCell<VecDeque<(Rc<Rollout>, Box<Event>)>>,
    /// Gauges to be set, in order, each once.
    gauges: RefCell<VecDeque<(Rc<Rollout>, Gauge)>>,
    known: RefCell<HashMap<Rc<Rollout>, HashMap<Gauge, Known>>>,
    /// Whether the weights in force may have changed.
    weights: Cell<bool>,
    questions: Questions,
    fleet: Fleet,
}

/// The gauges of a fleet.
#[derive(Default)]
struct Fleet {
    ids: Cell<Option<[Option<u32>; 3]>>,
}

impl Fleet {
    fn show(&self, values: [u64; 3]) {
        let define = || {
            [series::store_age(), series::fleet_members(), series::fleet_problems()]
                .map(|name| calls::define_metric(Metric::Gauge, &name))
        };
        let ids = self.ids.get().unwrap_or_else(define);
        self.ids.set(Some(ids));
        // Each time: another VM may have led meanwhile, and shown something else.
        for (id, value) in ids.into_iter().zip(values) {
            if let Some(id) = id {
                calls::record(id, value);
            }
        }
    }
}

/// A gauge that this VM sets.
#[derive(Default)]
struct Known {
    /// Its id, once it is defined.
    id: Option<u32>,
    /// The value that it gets next.
    next: Option<u64>,
}

impl Effects {
    /// Shows that the Envoy belongs to no fleet, if this VM has shown one.
    pub(super) fn leave_fleet(&self) {
        if self.fleet.ids.get().is_some() {
            self.fleet.show([0; 3]);
        }
    }

    /// Does one thing, or notes it. Calls are about `context`, before and afterwards. Returns what is known at once:
    /// the rollout whose candidate could not be asked, and that as its answer.
    pub(super) fn perform(&self, context: u32, effect: Effect) -> Option<(String, ready::Answer)> {
        match effect {
            Effect::Wake { vm, reply_to } => notices::send(vm, reply_to),
            Effect::Routes => self.show_weights(),
            Effect::Happened { rollout, event } => self.events.borrow_mut().push_back((rollout, event)),
            Effect::Gauge { rollout, gauge, value } => {
                let mut known = self.known.borrow_mut();
                let known = known.entry(Rc::clone(&rollout)).or_default().entry(gauge.clone()).or_default();
                if known.next.replace(value).is_none() {
                    self.gauges.borrow_mut().push_back((rollout, gauge));
                }
            }
            Effect::Heard { rollout, about, count } => {
                calls::count(&about.name(&rollout), count);
            }
            Effect::Dropped { what, count } => calls::count(&series::dropped(what), count),
            Effect::Fleet { age, members, problems } => self.fleet.show([age, members, problems]),
            Effect::StoreFailed(reason) => calls::count(&series::store_errors(reason), 1),
            Effect::Problem(problem) => ::log::warn!("{problem}"),
            Effect::Solved => ::log::info!("the fleet has no problems any more"),
            Effect::Gone(worker) => {
                ::log::warn!(
                    "worker {worker} no longer answers: its VM has failed, Envoy is stopping it, or it gets no CPU"
                );
                calls::set_gauge(&series::config_hash(worker), 0);
            }
            Effect::Answer(Answer { stream, rollout, record, missing }) => {
                if stream == context || calls::set_context(stream) {
                    calls::respond(&api::changed(&rollout, Ok(&record), &missing, clock()));
                }
                if stream != context {
                    calls::set_context(context);
                }
            }
            Effect::Notified { receiver, result, count } => {
                calls::count(&series::notifications(&receiver, result), count);
            }
            Effect::Post(_) => {} // the VM posts
            Effect::Ask(question) => return self.questions.ask(context, question).err(),
        }
        None
    }

    /// The rollout that a callout was about, and the answer that has come; `status`: none if none did.
    pub(super) fn answered(&self, token: u32, status: Option<u64>) -> Option<(String, ready::Answer)> {
        self.questions.answered(token, status)
    }

    /// The weights in force may have changed.
    pub(super) fn show_weights(&self) {
        self.weights.set(true);
    }

    /// Whether the weights in force may have changed since the last call.
    pub(super) fn weights_have_changed(&self) -> bool {
        self.weights.take()
    }

    /// Does what was left for later while there is `time`, at least one thing.
    pub(super) fn go_on(&self, time: &dyn Fn() -> bool) {
        let mut events = self.events.borrow_mut();
        while let Some((rollout, event)) = events.pop_front() {
            happened(&rollout, &event);
            if !time() {
                return;
            }
        }
        let (mut gauges, mut known) = (self.gauges.borrow_mut(), self.known.borrow_mut());
        let mut done = 0_usize;
        while let Some((rollout, gauge)) = gauges.pop_front() {
            let known = known.get_mut(&rollout).and_then(|known| known.get_mut(&gauge));
            let Some((known, value)) = known.and_then(|known| known.next.take().map(|value| (known, value)))
            else {
                continue;
            };
            let is_new = known.id.is_none();
            if is_new {
                known.id = calls::define_metric(Metric::Gauge, &gauge.name(&rollout));
            }
            if let Some(id) = known.id {
                calls::record(id, value);
            }
            done = done.wrapping_add(1);
            // A look at the clock costs as much as a gauge that is known.
            if (is_new || done.is_multiple_of(KNOWN_BETWEEN_LOOKS)) && !time() {
                return;
            }
        }
    }

    /// Whether something is left for later.
    pub(super) fn are_left(&self) -> bool {
        !self.events.borrow().is_empty() || !self.gauges.borrow().is_empty()
    }
}

/// Logs and counts what has happened to a rollout.
fn happened(rollout: &Rollout, event: &Event) {
    // The same that the API shows.
    if let Ok(line) = serde_json::to_string(&view::Event::new(&rollout.name, event)) {
        log::log!(level(event.action), "{line}");
    }
    calls::count(&series::actions(rollout, event.action.label(), event.actor.label()), 1);
}

/// What a person should look at is a warning.
fn level(action: Action) -> log::Level {
    match action {
        Action::Rollback | Action::Alarm | Action::Pause => log::Level::Warn,
        _ => log::Level::Info,
    }
}
