//! What the API says of a rollout whose stable version is people.

use serde::{Deserialize, Serialize};

use crate::analysis::kernel::agreement::Agreement;
use crate::automation::band::Band;
use crate::automation::decisions::Decisions;
use crate::automation::proof;
use crate::model::{Degree, Share};
use crate::rollout::record::Record;

/// How far a model has taken over people's work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Automation {
    /// The degree in force.
    pub degree: Degree,
    /// The confidence from which on the model answers alone; `null`: it does not.
    pub threshold: Option<f64>,
    /// The part of all tasks that this leaves to it, by the decisions so far.
    pub coverage: f64,
    /// Decisions of people who had not seen the model's answer.
    pub blind: Decided,
    /// Decisions of people who had: they follow suggestions, so this proves nothing.
    pub shown: Decided,
    /// Decisions about tasks that the model had answered alone.
    pub audited: Decided,
    /// Tasks that two people have decided, and how often they agree with each other.
    pub people: Decided,
    /// Cohen's kappa of people and model, of blind decisions; `null` without any.
    pub kappa: Option<f64>,
    /// The confusion matrix of blind decisions, in the order in which it was found.
    pub labels: Vec<Cell>,
    /// Blind decisions by the model's label.
    pub by_label: Vec<ByLabel>,
    /// What the model must show before it answers alone; `null` where nothing has to be proven.
    pub target: Option<Target>,
    /// The evidence that the model disagrees more often than allowed in what it answers alone.
    pub audit: Option<Audit>,
}

/// Tasks that were decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Decided {
    /// How many.
    pub tasks: u64,
    /// The share of them that agree; `null` without any.
    pub agreement: Option<Agreement>,
}

/// Tasks with these labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Cell {
    /// The people's label.
    pub human: String,
    /// The model's.
    pub model: String,
    /// How many tasks.
    pub tasks: u64,
}

/// Tasks to which the model gives one label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ByLabel {
    /// The model's label, or `other`.
    pub label: String,
    /// How many tasks.
    pub tasks: u64,
    /// The share of them in which people decide the same.
    pub agreement: Agreement,
}

/// What the model must show, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Target {
    /// The part of what it answers alone in which people may decide otherwise.
    pub max_disagreement: f64,
    /// The certainty of the proof.
    pub confidence: f64,
    /// The largest part of all tasks that any threshold could leave to the model, by its agreement so far.
    pub reachable: f64,
    /// Thresholds, from the highest to the lowest.
    pub thresholds: Vec<Threshold>,
}

/// A threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Threshold {
    /// The lowest confidence.
    pub confidence: f64,
    /// The part of all tasks with that confidence or more.
    pub coverage: f64,
    /// The part of these in which people and model disagree.
    pub disagreement: f64,
    /// What that is at most.
    pub at_most: f64,
    /// Whether it is proven to be within the target.
    pub proven: bool,
    /// How many more decisions would prove it, if they came as so far; `null` if none would.
    pub missing: Option<u64>,
}

/// The evidence of the audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Audit {
    /// The logarithm of its e-value.
    pub log10_e: f64,
    /// The logarithm of the e-value at which the degree goes down.
    pub threshold: f64,
}

impl Automation {
    /// How far the model of a rollout is; `None`: there are no people.
    #[must_use]
    pub fn new(record: &Record, decisions: &Decisions) -> Option<Self> {
        let Record { program, run, .. } = record;
        let automation = program.automation.as_ref()?;
        let threshold = run.threshold(program);
        let labels = decisions.confusion.cells().map(|(human, model, tasks)| Cell {
            human: human.to_owned(),
            model: model.to_owned(),
            tasks,
        });
        Some(Self {
            degree: run.degree(program),
            threshold: threshold.map(fraction),
            coverage: threshold.map_or(0.0, |threshold| rounded(decisions.coverage(threshold))),
            blind: decided(decisions.blind),
            shown: decided(decisions.shown),
            audited: decided(decisions.audited),
            people: decided(decisions.people),
            kappa: decisions.confusion.agreement().map(|agreement| rounded(agreement.kappa)),
            labels: labels.collect(),
            by_label: decisions.confusion.by_shadow().map(by_label).collect(),
            target: automation.target.map(|target| {
                let bands = decisions.bands.iter();
                let all = bands.fold(Band::default(), |mut all, band| {
                    all.add(*band);
                    all
                });
                let disagreement =
                    crate::model::real(all.disagreements) / crate::model::real(all.tasks.max(1));
                let threshold = |risk: proof::Risk| Threshold {
                    confidence: fraction(risk.threshold),
                    coverage: rounded(risk.coverage),
                    disagreement: rounded(risk.disagreement),
                    at_most: rounded(risk.at_most),
                    proven: risk.is_proven,
                    missing: risk.missing.filter(|_| !risk.is_proven),
                };
                Target {
                    max_disagreement: target.max_disagreement,
                    confidence: target.confidence,
                    reachable: rounded(proof::reachable(disagreement, target.max_disagreement)),
                    thresholds: run.ladder.risks(decisions, &target).into_iter().map(threshold).collect(),
                }
            }),
            audit: (automation.steps_down && run.degree(program).answers_alone()).then(|| Audit {
                log10_e: rounded(run.ladder.audit().value().log10()),
                threshold: rounded(crate::automation::audit::Audit::threshold().log10()),
            }),
        })
    }
}

fn decided(band: Band) -> Decided {
    let agreement = (band.tasks > 0).then(|| Agreement::of(band.agreements(), band.tasks));
    Decided { tasks: band.tasks, agreement }
}

fn by_label((label, tasks, agreed): (&str, u64, u64)) -> ByLabel {
    ByLabel { label: label.to_owned(), tasks, agreement: Agreement::of(agreed, tasks) }
}

fn fraction(hundredths: u16) -> f64 {
    f64::from(hundredths) / f64::from(Share::ALL.basis_points())
}

/// To four decimals, which suffices for reading.
fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}
