//! What a metric of `analysis` must obey beyond its type.

use super::mirror::compares_candidate;
use super::payload;
use super::words::within;
use crate::config::release::Metric;
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{Mirror, Rollout, known};
use crate::signal::catalog::{self, Among, Differs, Kind, Named};

/// Quantiles of one metric.
const MOST_QUANTILES: usize = 5;

/// Checks a metric: its name, what it needs beside it, and its limits.
pub(super) fn metric(metric: &Metric, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let named = catalog::named(&metric.name);
    let signal = named.map(|named| named.signal);
    if metric.name.is_empty() {
        let names = catalog::names().join(" or ");
        problems.add(&path.field("name"), format_args!("missing or empty; expected {names}"));
    } else if signal.is_none() {
        let names = catalog::names();
        let names = known(names.iter().map(String::as_str));
        problems.add(
            &path.field("name"),
            format_args!("unknown metric {}; known here: {names}", Shown(&metric.name)),
        );
    }
    match named.map(|named| (named, named.signal.among)) {
        Some((named, among)) if among.reads_bodies() => {
            payload::can_observe(&named, rollout.payload.as_ref(), &path.field("name"), problems);
        }
        Some((_, Among::Pairs)) => of_pairs(metric, rollout, path, problems),
        Some((named, Among::Events)) => of_events(metric, &named, rollout, path, problems),
        _ => {}
    }
    let kind = signal.map_or(Kind::Event, |signal| signal.kind);
    if metric.direction.is_some() && signal.is_some_and(|signal| signal.differs == Differs::Up) {
        problems.add(&path.field("direction"), format_args!("more of {} is always worse", metric.name));
    }
    if let Some(tolerate) = metric.tolerate {
        within(tolerate, 1.0, 100.0, &path.field("tolerate"), problems);
    }
    if let Some(more) = metric.or_milliseconds {
        let path = path.field("or_milliseconds");
        within(more, 0.0, 3_600_000.0, &path, problems);
        if kind != Kind::Duration {
            problems
                .add(&path, format_args!("a tolerated difference of durations; {} has none", metric.name));
        }
    }
    if let Some(max) = metric.max {
        if signal.is_some_and(|signal| signal.differs == Differs::Inputs) {
            let message = "not allowed here: an input metric compares requests, which have no bound";
            problems.add(&path.field("max"), message);
        } else if kind == Kind::Event {
            within(max, 1e-6, 0.999, &path.field("max"), problems);
        } else {
            problems
                .add(&path.field("max"), format_args!("a bound of a rate; {} is not a rate", metric.name));
        }
    }
    if let Some(quantiles) = &metric.quantiles {
        quantiles_of(kind, quantiles, &path.field("quantiles"), problems);
    }
}

/// A metric of compared answers.
fn of_pairs(metric: &Metric, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    if let Err(message) = compares_candidate(rollout) {
        problems.add(&path.field("name"), message);
    } else if !rollout.mirror.as_ref().is_some_and(Mirror::has_baseline) {
        if metric.max.is_none() {
            problems
                .add(&path.field("max"), "missing; expected the largest share of answers that may differ");
        }
        if metric.tolerate.is_some() {
            problems.add(
                &path.field("tolerate"),
                "compares with how often stable disagrees with itself; needs `compare.baseline: true`",
            );
        }
    }
}

/// A metric of what users do afterwards.
fn of_events(
    metric: &Metric,
    named: &Named<'_>,
    rollout: &Rollout,
    path: &Path<'_>,
    problems: &mut Problems,
) {
    let rules = || rollout.feedback.iter().map(|rule| rule.name.as_str());
    let name = named.parameter.unwrap_or_default();
    if !rules().any(|rule| rule == name) {
        problems.add(
            &path.field("name"),
            format_args!("unknown rule {}; known in `feedback`: {}", Shown(name), known(rules())),
        );
    }
    if metric.direction.is_some() {
        problems.add(&path.field("direction"), "not allowed here: `better` in `feedback` sets the direction");
    }
    if metric.max.is_some() {
        problems.add(
            &path.field("max"),
            "not allowed here: feedback counts only users who act, so it has no rate to bound",
        );
    }
}

fn quantiles_of(kind: Kind, quantiles: &[f64], path: &Path<'_>, problems: &mut Problems) {
    if kind != Kind::Duration {
        let durations = catalog::ALL.iter().filter(|signal| signal.kind == Kind::Duration);
        let durations: Vec<&str> = durations.map(|signal| signal.name).collect();
        problems.add(path, format_args!("only durations have quantiles: {}", durations.join(", ")));
    } else if quantiles.is_empty() || quantiles.len() > MOST_QUANTILES {
        problems.add(path, format_args!("{} entries; expected 1 to {MOST_QUANTILES}", quantiles.len()));
    }
    for (index, quantile) in quantiles.iter().enumerate() {
        let path = path.index(index);
        within(*quantile, 0.01, 0.9999, &path, problems);
        if quantiles.iter().take(index).any(|earlier| earlier >= quantile) {
            problems.add(&path, format_args!("{quantile} is not above the previous one"));
        }
    }
}
