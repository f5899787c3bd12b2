//! The metrics of this VM.
//!
//! Envoy keeps a metric's values for the whole process; a VM only needs its id, which it asks for when the
//! metric is first used: thousands of rollouts cost nothing until requests come.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use json_sieve::Scalar;

use super::calls::{self, Metric};
use super::memory::Bytes;
use crate::automation::task::Unanswered;
use crate::compare::Compared;
use crate::compare::totals::Totals;
use crate::model::Share;
use crate::payload::exchange::{Exchange, is_label};
use crate::routing::plan::{Rollout, Version};
use crate::telemetry::class::Class;
use crate::telemetry::figure::{self, About, Label};
use crate::telemetry::load_report;
use crate::telemetry::looks::Looks;
use crate::telemetry::mirror_result::MirrorResult;
use crate::telemetry::mirrored;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::reader::{KnownLabels, Reader};
use crate::telemetry::series::Owner;
use crate::telemetry::served::{OwnAnswers, Served};

/// A metric that is defined when it is first used.
#[derive(Default)]
struct Lazy(Cell<Option<u32>>);

impl Lazy {
    /// The metric's id. One that Envoy refuses to define is asked for again the next time: it has no other
    /// reason to than its own memory.
    fn id(&self, kind: Metric, name: impl FnOnce() -> String) -> Option<u32> {
        if self.0.get().is_none() {
            self.0.set(calls::define_metric(kind, &name()));
        }
        self.0.get()
    }
}

/// What goes on is not closed.
pub(super) const NEVER: u64 = u64::MAX;

/// Seconds without a report after which a model server's load is not known any more.
const FORGOTTEN: u64 = if cfg!(feature = "test-build") { 3 } else { 60 };

/// Ids of a metric, by the value of its label.
type Ids = Vec<(Box<str>, u32)>;

/// The series of one version of one rollout.
pub(super) struct Series {
    owner: Owner,
    /// When what goes on with the version is closed, for it was taken back; the same for all labels.
    pub(super) ends_at: Rc<Cell<u64>>,
    /// Which of its requests are looked at, to see who serves them.
    pub(super) looks: Looks,
    /// The cluster that last was found to serve it.
    served_by: RefCell<Vec<u8>>,
    /// What Envoy's routes have answered themselves since.
    pub(super) own_answers: OwnAnswers,
    /// Of stable: copies of the rollout's requests that wait for a shadow, or tasks about which the model is asked.
    pub(super) in_flight: Rc<Cell<usize>>,
    /// Of people's version: bytes of tasks that are still coming.
    pub(super) held: Rc<Cell<usize>>,
    /// Of the model, where it answers all tasks.
    pub(super) unanswered: Cell<Unanswered>,
    requests: [[Lazy; Outcome::ALL.len()]; Class::ALL.len()],
    duration: Lazy,
    request_bytes: Lazy,
    response_bytes: Lazy,
    /// Of the version as the shadow.
    mirror_requests: [Lazy; MirrorResult::ALL.len()],
    /// Of compared pairs: what they add up to, and the counters that show it.
    compared: RefCell<Totals>,
    agreement: [Lazy; 3],
    compared_shown: RefCell<Vec<Shown>>,
    has_compared: Cell<bool>,
    /// Of figures about bodies: the ids of those that were shown, by what they are about and their label's value.
    figures: RefCell<BTreeMap<About, Ids>>,
    server_load: RefCell<Loads>,
    weight: Lazy,
    /// The weight in force in this VM, where it is shown: 0 once no configuration names the version any more.
    weight_in_force: Cell<u64>,
}

/// What a version's model servers have last reported of their load to this VM.
#[derive(Default)]
struct Loads {
    /// Each metric's name, its gauge, and what it was set to.
    gauges: Vec<(Box<str>, u32, u64)>,
    /// The tick in which the last report was found to have come; `None`: one has come since.
    reported_in: Option<u64>,
}

/// A counter of compared pairs.
struct Shown {
    about: mirrored::About,
    labels: String,
    id: u32,
    value: u64,
}

/// What is recorded of a request.
pub(super) struct Facts {
    pub(super) class: Class,
    pub(super) outcome: Outcome,
    pub(super) milliseconds: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
}

impl Series {
    fn new(owner: Owner, ends_at: Rc<Cell<u64>>) -> Self {
        Self {
            owner,
            ends_at,
            looks: Looks::default(),
            served_by: RefCell::default(),
            own_answers: OwnAnswers::default(),
            in_flight: Rc::default(),
            held: Rc::default(),
            unanswered: Cell::default(),
            requests: Default::default(),
            duration: Lazy::default(),
            request_bytes: Lazy::default(),
            response_bytes: Lazy::default(),
            mirror_requests: Default::default(),
            compared: RefCell::default(),
            agreement: Default::default(),
            compared_shown: RefCell::default(),
            has_compared: Cell::new(false),
            figures: RefCell::default(),
            server_load: RefCell::default(),
            weight: Lazy::default(),
            weight_in_force: Cell::new(0),
        }
    }

    /// A request was looked at.
    pub(super) fn note_served(&self, by: Served, cluster: Option<Bytes>) {
        if by != Served::ByNone {
            self.own_answers.end();
        }
        if let (Served::ByVersion, Some(cluster)) = (by, cluster) {
            self.served_by.replace(cluster.into_vec());
        } else {
            self.looks.begin_anew();
        }
    }

    /// The cluster that was last found to serve the version; empty when nothing is known.
    pub(super) fn served_by(&self) -> Vec<u8> {
        self.served_by.borrow().clone()
    }

    /// Counts a request.
    pub(super) fn count(&self, facts: &Facts) {
        let by_class = self.requests.get(facts.class.index());
        if let Some(requests) = by_class.and_then(|by_outcome| by_outcome.get(facts.outcome.index())) {
            let id = requests.id(Metric::Counter, || self.owner.requests(facts.class, facts.outcome));
            if let Some(id) = id {
                calls::increment(id);
            }
        }
        let histogram = |metric: &Lazy, name: fn(&Owner) -> String, value| {
            if let Some(id) = metric.id(Metric::Histogram, || name(&self.owner)) {
                calls::record(id, value);
            }
        };
        histogram(&self.duration, Owner::duration, facts.milliseconds);
        histogram(&self.request_bytes, Owner::request_bytes, facts.request_bytes);
        histogram(&self.response_bytes, Owner::response_bytes, facts.response_bytes);
    }

    /// Counts a request that was drawn for the version as the shadow.
    pub(super) fn count_mirrored(&self, result: MirrorResult) {
        if let Some(requests) = self.mirror_requests.get(result.index()) {
            let id = requests.id(Metric::Counter, || self.owner.mirror_requests(result));
            if let Some(id) = id {
                calls::increment(id);
            }
        }
    }

    /// Counts a pair of which this is the shadow's; `None`: it gave no answer. It is shown at the next tick.
    pub(super) fn note_compared(&self, pair: Option<&Compared>) {
        self.compared.borrow_mut().count(pair);
        self.has_compared.set(true);
    }

    /// Shows how often the version agrees with stable, as its shadow.
    pub(super) fn show_agreement(&self, totals: &Totals) {
        for (lazy, (metric, value)) in self.agreement.iter().zip(mirrored::agreement(totals)) {
            let id = lazy.id(Metric::Gauge, || self.owner.named(metric));
            if let Some(id) = id {
                calls::record(id, value);
            }
        }
    }

    /// Shows what was compared, while there is `time`. Returns whether something is left.
    fn show_compared(&self, time: &dyn Fn() -> bool) -> bool {
        if !self.has_compared.take() {
            return false;
        }
        let mut all = self.compared_shown.borrow_mut();
        for (about, labels, value) in mirrored::figures(&self.compared.borrow()) {
            let known = all.iter_mut().find(|shown| shown.about == about && shown.labels == labels);
            if let Some(shown) = known {
                if value > shown.value {
                    calls::add(shown.id, value.saturating_sub(shown.value));
                    shown.value = value;
                }
            } else if !time() {
                self.has_compared.set(true);
            } else if let Some(id) =
                calls::define_metric(Metric::Counter, &self.owner.compared(about, &labels))
            {
                calls::add(id, value);
                all.push(Shown { about, labels, id, value });
            }
        }
        self.has_compared.get()
    }

    /// Shows the figures of an exchange whose bodies were read.
    pub(super) fn show_figures(&self, exchange: &Exchange, reader: &Reader) {
        let mut figures = self.figures.borrow_mut();
        let of = (&reader.places, reader.labels.is_some());
        figure::each(exchange, of, |about, label, value| {
            let known = figures.entry(about).or_default();
            let is_histogram = about.metric().kind == figure::Kind::Histogram;
            let id = match label {
                Label::None => self.figure(about, "", known),
                Label::Known(value) => self.figure(about, value, known),
                Label::Answer(label) => self.figure_of_label(label, reader.labels.as_ref(), known),
            };
            match id {
                Some((id, _)) if is_histogram => calls::record(id, value),
                // A counter appears with its first figure, also if that is 0.
                Some((id, is_new)) if value > 0 || is_new => calls::add(id, value),
                _ => {}
            }
        });
    }

    /// Shows what a model server reports of its load, in thousandths.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; it is not negative
    pub(super) fn show_load(&self, metric: &str, value: f64) {
        let Loads { gauges, reported_in } = &mut *self.server_load.borrow_mut();
        *reported_in = None;
        let mut at = gauges.iter().position(|(name, ..)| **name == *metric);
        if at.is_none() && gauges.len() < load_report::MOST {
            let id = calls::define_metric(Metric::Gauge, &self.owner.server_load(metric));
            gauges.extend(id.map(|id| (metric.into(), id, 0)));
            at = gauges.len().checked_sub(1);
        }
        if let Some((_, id, shown)) = at.and_then(|at| gauges.get_mut(at)) {
            *shown = (value * 1_000.0).round() as u64;
            calls::record(*id, *shown);
        }
    }

    /// Sets to 0 what no report was about for long. What another VM has shown since stays.
    fn forget_load(&self, tick: u64) {
        let Loads { gauges, reported_in } = &mut *self.server_load.borrow_mut();
        if tick.saturating_sub(*reported_in.get_or_insert(tick)) < FORGOTTEN {
            return;
        }
        for (_, id, shown) in gauges.iter_mut().filter(|(_, _, shown)| *shown > 0) {
            if calls::gauge(*id) == Some(*shown) {
                calls::record(*id, 0);
            }
            *shown = 0;
        }
    }

    /// The id of a figure, and whether it was defined just now.
    fn figure(&self, about: About, value: &str, known: &mut Ids) -> Option<(u32, bool)> {
        if let Some((_, id)) = known.iter().find(|(known, _)| **known == *value) {
            return Some((*id, false));
        }
        let is_histogram = about.metric().kind == figure::Kind::Histogram;
        let kind = if is_histogram { Metric::Histogram } else { Metric::Counter };
        let id = calls::define_metric(kind, &self.owner.figure(about, value))?;
        known.push((value.into(), id));
        Some((id, true))
    }

    /// The same of an answer's label, or of all others.
    fn figure_of_label(
        &self,
        label: &Scalar,
        labels: Option<&KnownLabels>,
        known: &mut Ids,
    ) -> Option<(u32, bool)> {
        if !labels?.count(label, known.iter().map(|(known, _)| &**known)) {
            return self.figure(About::Labels, figure::OTHER, known);
        }
        if let Some((_, id)) = known.iter().find(|(known, _)| is_label(label, known)) {
            return Some((*id, false));
        }
        self.figure(About::Labels, &figure::label_text(label), known)
    }

    /// Shows the weight in force from now on.
    pub(super) fn show_weight(&self, weight: Share) {
        if let Some(id) = self.weight.id(Metric::Gauge, || self.owner.weight()) {
            self.weight_in_force.set(weight.basis_points().into());
            calls::record(id, self.weight_in_force.get());
        }
    }

    /// Whether its weight is shown.
    pub(super) fn is_shown(&self) -> bool {
        self.weight.0.get().is_some()
    }
}

/// All series this VM has ever had, by owner: a configuration that comes back finds its metrics again.
#[derive(Default)]
pub(super) struct Registry {
    series: RefCell<BTreeMap<Owner, Rc<Series>>>,
}

impl Registry {
    /// The series of a rollout's versions.
    pub(super) fn of(&self, rollout: &Rollout) -> Vec<Rc<Series>> {
        let mut all = self.series.borrow_mut();
        let series = |version: &Version| {
            // Those of one version are neighbours, and the ones without labels come first.
            let bare = Owner::new(&rollout.name, &version.name, &[]);
            let first = all.range(&bare..).next().filter(|(first, _)| first.is_of_the_version_of(&bare));
            let ends_at = first.map(|(_, series)| Rc::clone(&series.ends_at));
            let ends_at = ends_at.unwrap_or_else(|| Rc::new(Cell::new(NEVER)));
            let owner = Owner::new(&rollout.name, &version.name, &rollout.labels);
            Rc::clone(
                all.entry(owner).or_insert_with_key(|owner| Rc::new(Series::new(owner.clone(), ends_at))),
            )
        };
        rollout.versions.iter().map(series).collect()
    }

    /// Shows what was compared with the answers of shadows, while there is `time`. Returns whether something is left.
    pub(super) fn show_compared(&self, time: &dyn Fn() -> bool) -> bool {
        let mut is_left = false;
        for series in self.series.borrow().values() {
            is_left |= series.show_compared(time);
        }
        is_left
    }

    /// Sets to 0 the load of servers that have reported none for long.
    pub(super) fn forget_loads(&self, tick: u64) {
        self.series.borrow().values().for_each(|series| series.forget_load(tick));
    }

    /// Takes the weights in force over into the gauges that are shown: `in_force` names them all, and what
    /// it does not name has none.
    pub(super) fn set_weights<'a>(&self, in_force: impl Iterator<Item = (&'a Rc<Series>, Share)>) {
        let all = self.series.borrow();
        let shown = || all.values().filter(|series| series.is_shown());
        let before: Vec<u64> = shown().map(|series| series.weight_in_force.replace(0)).collect();
        for (series, weight) in in_force {
            series.weight_in_force.set(weight.basis_points().into());
        }
        for (series, before) in shown().zip(before) {
            let now = series.weight_in_force.get();
            if now != before
                && let Some(id) = series.weight.0.get()
            {
                calls::record(id, now);
            }
        }
    }
}
