//! What is read of a rollout's messages, compiled from its configuration.

use std::rc::Rc;

use json_sieve::Scalar;

use super::figure::{OTHER, label_text};
use crate::config::alarm::Alarm;
use crate::config::drift::Drift;
use crate::config::payload::{Labels, Payload};
use crate::config::release::Analysis;
use crate::config::units::Count;
use crate::model::Share;
use crate::payload::exchange::{Exchange, Places, Source, is_label};
use crate::payload::preset::Preset;
use crate::payload::protocol::Protocol;
use crate::signal::catalog::{self, SignalId};
use crate::signal::observed::Observed;

/// What is read of a rollout's messages.
#[derive(Debug)]
pub struct Reader {
    /// How requests are read.
    pub input: Rc<Preset>,
    /// How answers are read.
    pub output: Rc<Preset>,
    /// Whether requests without a body ask for an inference too: those of model servers' protocols ask for something else.
    pub reads_bodiless: bool,
    /// Where the configured values stand.
    pub places: Places,
    /// The share of requests that are read.
    pub sample: Share,
    /// Answers are counted by their value.
    pub labels: Option<KnownLabels>,
    signals: Vec<(SignalId, Source)>,
}

/// The labels that answers are counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownLabels {
    /// So many, the first ones seen.
    First(usize),
    /// These.
    These(Vec<String>),
}

impl KnownLabels {
    /// Whether answers with a label are counted by it, and not with all others; `known`: what answers were counted by so far.
    pub fn count<'a>(&self, label: &Scalar, known: impl Iterator<Item = &'a str> + Clone) -> bool {
        match self {
            Self::These(these) => these.iter().any(|these| is_label(label, these)),
            Self::First(most) => {
                let text = label_text(label);
                known.clone().any(|known| is_label(label, known) || known == text)
                    || known.filter(|known| *known != OTHER).count() < *most
            }
        }
    }
}

impl Reader {
    /// Compiles a valid configuration.
    #[must_use]
    pub fn new(
        config: &Payload,
        analysis: Option<&Analysis>,
        alarms: &[Alarm],
        drift: Option<&Drift>,
    ) -> Option<Self> {
        let protocol = config.protocol?;
        let places = config.places(protocol);
        let preset = |spec| Preset::new(&spec).ok().map(Rc::new);
        let source = |name: &str| {
            let named = catalog::named(name)?;
            Some((named.id, Source::of(&named, protocol, &places)?.ok()?))
        };
        let metrics = analysis.into_iter().flat_map(|analysis| &analysis.metrics);
        let names = metrics.map(|metric| &metric.name).chain(alarms.iter().map(|alarm| &alarm.signal));
        let mut signals: Vec<(SignalId, Source)> = Vec::new();
        let moving = |name: &String| {
            let moving = catalog::moving(name)?;
            Some((moving.id, Source::of(&moving.named, protocol, &places)?.ok()?))
        };
        let drift = drift.into_iter().flat_map(|drift| &drift.metrics);
        for (signal, source) in names.filter_map(|name| source(name)).chain(drift.filter_map(moving)) {
            if !signals.iter().any(|(known, _)| *known == signal) {
                signals.push((signal, source));
            }
        }
        let labels = config.output.labels.as_ref().map(|labels| match labels {
            Labels::First(count) => KnownLabels::First(usize::try_from(Count::get(*count)).unwrap_or(0)),
            Labels::These(these) => KnownLabels::These(these.clone()),
        });
        Some(Self {
            input: preset(config.of_requests(protocol))?,
            output: preset(config.of_answers(protocol))?,
            reads_bodiless: protocol == Protocol::Json,
            sample: config.sample.0,
            labels,
            signals,
            places,
        })
    }

    /// What an exchange shows of the signals that are judged.
    pub fn observations(&self, exchange: &Exchange) -> impl Iterator<Item = (SignalId, Observed)> {
        let observe = |(id, source): &(SignalId, Source)| {
            let observed = exchange.observe(source, &self.places)?;
            Some((*id, if id.is_spread() { observed.spread() } else { observed }))
        };
        self.signals.iter().filter_map(observe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_labels_is_all_that_answers_are_counted_by() {
        let label = |text: &str| Scalar::Text(text.as_bytes().into());
        let known = ["ham", OTHER, "spam"];
        let these = KnownLabels::These(vec!["spam".to_owned(), "7".to_owned()]);
        let is_counted = |label| these.count(&label, known.into_iter());
        assert!(is_counted(label("spam")) && is_counted(Scalar::Number(7.0)));
        assert!(!is_counted(label("ham")), "also where it was counted before");
        let first = |most, name: &str| KnownLabels::First(most).count(&label(name), known.into_iter());
        assert!(first(3, "new") && first(2, "ham") && first(1, "spam"));
        assert!(!first(2, "new"));
    }
}
