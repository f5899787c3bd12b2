//! What the reading of bodies must obey beyond its types.

use super::LARGEST_BODY;
use super::words::{at_most, text};
use crate::config::payload::{Labels, Payload};
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::known;
use crate::config::units::Size;
use crate::payload::exchange::{Lacks, Source};
use crate::payload::preset::{Preset, Spec};
use crate::signal::catalog::Named;

/// Labels that answers are counted by.
const MOST_LABELS: usize = 32;
/// Categories of a field.
const MOST_CATEGORIES: usize = 64;

pub(super) fn payload(payload: &Payload, path: &Path<'_>, problems: &mut Problems) {
    let (input, output) = (path.field("input"), path.field("output"));
    if payload.max_body == Size::kib(0) || payload.max_body > LARGEST_BODY {
        let message = format!("{} is out of range; expected 1 to {LARGEST_BODY}", payload.max_body);
        problems.add(&path.field("max_body"), message);
    }
    let (fields, categories) = (input.field("fields"), input.field("categories"));
    at_most(payload.input.fields.len(), &fields, problems);
    at_most(payload.input.categories.len(), &categories, problems);
    for (index, field) in payload.input.fields.iter().enumerate() {
        if payload.input.fields.iter().take(index).any(|earlier| earlier == field) {
            problems.add(&fields.index(index), format_args!("{} is there twice", Shown(field)));
        }
    }
    for (field, known) in &payload.input.categories {
        let path = categories.field(field);
        if known.is_empty() || known.len() > MOST_CATEGORIES {
            let message = format!("{} categories; expected 1 to {MOST_CATEGORIES}", known.len());
            problems.add(&path, message);
        }
    }
    if let Some([least, most]) = payload.output.range
        && !(least < most && least.is_finite() && most.is_finite())
    {
        problems.add(&output.field("range"), "expected two numbers, the lower one first");
    }
    let labels = output.field("labels");
    match &payload.output.labels {
        Some(Labels::First(count)) if !(1..=MOST_LABELS as u64).contains(&count.get()) => {
            problems
                .add(&labels, format_args!("{} is out of range; expected 1 to {MOST_LABELS}", count.get()));
        }
        Some(Labels::These(list)) => {
            if list.is_empty() || list.len() > MOST_LABELS {
                problems.add(&labels, format_args!("{} labels; expected 1 to {MOST_LABELS}", list.len()));
            }
            for (index, label) in list.iter().enumerate() {
                text(label, &labels.index(index), problems);
            }
        }
        Some(Labels::First(_)) | None => {}
    }
    at_most(payload.output.null_values.len(), &output.field("null_values"), problems);
    let Some(protocol) = payload.protocol else {
        if !problems.concern(&path.field("protocol")) {
            let message = "missing; expected open_inference, tf_serving, openai, sagemaker or json";
            problems.add(&path.field("protocol"), message);
        }
        return;
    };
    compiles(&payload.of_requests(protocol), &input, problems);
    compiles(&payload.of_answers(protocol), &output, problems);
}

/// Says which pointer is none.
fn compiles(spec: &Spec, path: &Path<'_>, problems: &mut Problems) {
    if let Err((at, error)) = Preset::new(spec) {
        match at.and_then(|at| spec.fields.get(at)) {
            Some(field) => problems.add(path, format_args!("{}: {error}", Shown(&field.pointer))),
            None => problems.add(path, error),
        }
    }
}

/// Checks that a signal of bodies can be observed.
pub(super) fn can_observe(
    named: &Named<'_>,
    payload: Option<&Payload>,
    path: &Path<'_>,
    problems: &mut Problems,
) {
    let Some(payload) = payload else {
        return problems.add(path, format_args!("{} needs `payload` beside `analysis`", named.signal.name));
    };
    let Some(protocol) = payload.protocol else { return };
    let parameter = Shown(named.parameter.unwrap_or_default());
    match Source::of(named, protocol, &payload.places(protocol)) {
        Some(Err(Lacks::Field)) => {
            let fields = known(payload.input.fields.iter().map(String::as_str));
            problems
                .add(path, format_args!("{parameter} is not in payload.input.fields; known there: {fields}"));
        }
        Some(Err(Lacks::Categories)) => {
            let fields = known(payload.input.categories.keys().map(String::as_str));
            let message = format!("{parameter} is not in payload.input.categories; known there: {fields}");
            problems.add(path, message);
        }
        Some(Err(Lacks::Confidence)) => problems.add(path, "needs payload.output.confidence, a JSON pointer"),
        Some(Err(Lacks::Value)) => problems.add(path, "needs payload.output.value, a JSON pointer"),
        Some(Err(Lacks::Length)) => problems.add(path, "needs payload.input.length, a JSON pointer"),
        Some(Err(Lacks::OpenAi)) => problems.add(path, "only answers of protocol openai show it"),
        Some(Ok(_)) | None => {}
    }
}
