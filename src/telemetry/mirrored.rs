//! What compared pairs add up to, as metrics show it.

use crate::analysis::kernel::agreement::Agreement;
use crate::compare::totals::Totals;

/// The metric of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Pairs that differ at a place.
    Fields,
    /// Pairs by their labels.
    Labels,
}

impl About {
    /// The metric's name.
    #[must_use]
    pub fn metric(self) -> &'static str {
        match self {
            Self::Fields => "changeover_mirror_fields_total",
            Self::Labels => "changeover_mirror_labels_total",
        }
    }
}

/// The field of a difference in the whole answer.
const ANSWER: &str = "(answer)";
/// The field of all places that are not told apart.
const OTHER: &str = "(other)";

/// A counter: its metric, its labels as they stand behind the name, and its value.
pub type Figure = (About, String, u64);

/// All counters of what pairs add up to. Their number is bounded, and they never fall.
pub fn figures(totals: &Totals) -> impl Iterator<Item = Figure> {
    let places = totals.places.iter().map(|place| {
        let field = if place.path.is_empty() { ANSWER } else { &place.path };
        let labels = format!(";field={field};kind={}", place.kind().label());
        (About::Fields, labels, place.pairs)
    });
    let overflow =
        (totals.overflow > 0).then(|| (About::Fields, format!(";field={OTHER};kind=other"), totals.overflow));
    let cells = totals
        .confusion
        .cells()
        .map(|(stable, shadow, pairs)| (About::Labels, format!(";label={stable};shadow={shadow}"), pairs));
    places.chain(overflow).chain(cells)
}

/// How often pairs agree, and the ends of the interval that the share lies in: gauges in hundredths of a percent. None of none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 10,000
pub fn agreement(totals: &Totals) -> impl Iterator<Item = (&'static str, u64)> {
    let Agreement { value, low, high } = Agreement::of(totals.matched, totals.compared);
    let of = [
        ("changeover_mirror_agreement", value),
        ("changeover_mirror_agreement_low", low),
        ("changeover_mirror_agreement_high", high),
    ];
    let is_any = totals.compared > 0;
    of.into_iter().filter(move |_| is_any).map(|(name, share)| (name, (share * 10_000.0).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::settings::Settings;
    use crate::compare::{Answer, compare};

    #[test]
    fn figures_name_fields_and_labels_as_the_stats_tags_take_them_apart() {
        let answer = |label: u32| Answer {
            status: 200,
            body: format!(r#"{{"a;b": {label}, "list": [{label}]}}"#).into_bytes(),
            ..Answer::default()
        };
        let settings =
            Settings { label: crate::compare::pointer::Pointer::new("/list/0").ok(), ..Settings::default() };
        let mut totals = Totals::default();
        totals.count(Some(&compare(&settings, &answer(4), &answer(9))));
        totals.count(Some(&compare(&settings, &answer(4), &Answer { status: 500, ..answer(9) })));
        let all: Vec<Figure> = figures(&totals).collect();
        let figure = |about, labels: &str, count| (about, labels.to_owned(), count);
        assert_eq!(
            all,
            [
                figure(About::Fields, ";field=/a_b;kind=value", 1),
                figure(About::Fields, ";field=/list/*;kind=value", 1),
                figure(About::Fields, ";field=(answer);kind=status", 1),
                figure(About::Labels, ";label=4;shadow=9", 1),
            ]
        );
    }
}
