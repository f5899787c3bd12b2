//! Figures about the bodies of requests and answers, as metrics show them.

use json_sieve::Scalar;

use crate::payload::exchange::{self, Exchange, Places};
use crate::payload::summary::{Choice, Finish, Summary};

/// What a figure is about, and so its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// How far a request's body was read.
    Input,
    /// How far an answer's body was read.
    Output,
    /// Bytes of requests that were read.
    InputBytes,
    /// Bytes of answers that were read.
    OutputBytes,
    /// gRPC messages of requests.
    InputMessages,
    /// gRPC messages of answers.
    OutputMessages,
    /// Bytes of the messages of requests.
    InputMessageBytes,
    /// Bytes of the messages of answers.
    OutputMessageBytes,
    /// A request's length.
    InputLength,
    /// The same, added up.
    InputLengthTotal,
    /// Values that stood at a field.
    Values,
    /// Values of a field that were missing.
    Missing,
    /// Values of a field that have none of its categories.
    Unseen,
    /// Tokens of a prompt, as the server counted them.
    InputTokens,
    /// The same, added up.
    InputTokensTotal,
    /// Tokens of a prompt that came from a cache.
    CachedTokens,
    /// Answers whose content is known.
    Answers,
    /// Answers without a value.
    Null,
    /// Answers that are errors although their status is good.
    ErrorObjects,
    /// Answers that were cut at a limit of tokens.
    Truncated,
    /// Choices of answers, by how they ended.
    Choices,
    /// Answers by label.
    Labels,
    /// An answer's length.
    OutputLength,
    /// The same, added up.
    OutputLengthTotal,
    /// Tokens of an answer.
    OutputTokens,
    /// The same, added up.
    OutputTokensTotal,
    /// Tokens of reasoning in an answer.
    ReasoningTokens,
    /// An answer's value, in thousandths of its range.
    Value,
    /// The same, added up.
    ValueTotal,
    /// An answer's confidence, in thousandths.
    Confidence,
    /// The same, added up.
    ConfidenceTotal,
    /// Milliseconds to the first token.
    FirstToken,
    /// Microseconds for each further token.
    PerToken,
}

impl About {
    /// The metric's name; whether it is a histogram, and no counter; and the label that figures differ in, if any. A label
    /// with a value of its own stands behind a `=`.
    #[must_use]
    pub fn metric(self) -> (&'static str, bool, &'static str) {
        match self {
            Self::Input => ("changeover_payload_total", false, ";kind=input;result="),
            Self::Output => ("changeover_payload_total", false, ";kind=output;result="),
            Self::InputBytes => ("changeover_payload_read_bytes_total", false, ";kind=input"),
            Self::OutputBytes => ("changeover_payload_read_bytes_total", false, ";kind=output"),
            Self::InputMessages => ("changeover_payload_messages_total", false, ";kind=input"),
            Self::OutputMessages => ("changeover_payload_messages_total", false, ";kind=output"),
            Self::InputMessageBytes => ("changeover_payload_message_bytes_total", false, ";kind=input"),
            Self::OutputMessageBytes => ("changeover_payload_message_bytes_total", false, ";kind=output"),
            Self::InputLength => ("changeover_input_length", true, ""),
            Self::InputLengthTotal => ("changeover_input_length_total", false, ""),
            Self::Values => ("changeover_input_values_total", false, ";field="),
            Self::Missing => ("changeover_input_missing_total", false, ";field="),
            Self::Unseen => ("changeover_input_unseen_total", false, ";field="),
            Self::InputTokens => ("changeover_input_tokens", true, ""),
            Self::InputTokensTotal => ("changeover_input_tokens_total", false, ""),
            Self::CachedTokens => ("changeover_input_cached_tokens_total", false, ""),
            Self::Answers => ("changeover_output_answers_total", false, ""),
            Self::Null => ("changeover_output_null_total", false, ""),
            Self::ErrorObjects => ("changeover_output_error_objects_total", false, ""),
            Self::Truncated => ("changeover_output_truncated_total", false, ""),
            Self::Choices => ("changeover_output_choices_total", false, ";result="),
            Self::Labels => ("changeover_output_labels_total", false, ";label="),
            Self::OutputLength => ("changeover_output_length", true, ""),
            Self::OutputLengthTotal => ("changeover_output_length_total", false, ""),
            Self::OutputTokens => ("changeover_output_tokens", true, ""),
            Self::OutputTokensTotal => ("changeover_output_tokens_total", false, ""),
            Self::ReasoningTokens => ("changeover_output_reasoning_tokens_total", false, ""),
            Self::Value => ("changeover_output_value_thousandths", true, ""),
            Self::ValueTotal => ("changeover_output_value_thousandths_total", false, ""),
            Self::Confidence => ("changeover_output_confidence_thousandths", true, ""),
            Self::ConfidenceTotal => ("changeover_output_confidence_thousandths_total", false, ""),
            Self::FirstToken => ("changeover_output_first_token_milliseconds", true, ""),
            Self::PerToken => ("changeover_output_per_token_microseconds", true, ""),
        }
    }
}

/// A label's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label<'a> {
    /// The metric has none.
    None,
    /// A text that the configuration or the code has.
    Known(&'a str),
    /// The label of an answer.
    Answer(&'a Scalar),
}

/// The label of all answers whose own label is not counted.
pub const OTHER: &str = "other";
/// The longest label, in bytes.
const LONGEST_LABEL: usize = 64;

/// An answer's label as a metric shows it: without what would end it there, and of bounded length.
#[must_use]
pub fn label_text(label: &Scalar) -> String {
    let text = match label {
        Scalar::Null => String::new(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => String::from_utf8_lossy(text).into_owned(),
    };
    let plain = |char: char| if char == ';' || char.is_control() { '_' } else { char };
    let mut text: String = text.chars().map(plain).collect();
    while text.len() > LONGEST_LABEL {
        text.pop();
    }
    if text.is_empty() { "_".to_owned() } else { text }
}

/// Calls `show` with every figure of an exchange. `counts_labels`: answers are counted by their value.
pub fn each<'a>(
    exchange: &'a Exchange,
    (places, counts_labels): (&'a Places, bool),
    mut show: impl FnMut(About, Label<'a>, u64),
) {
    if let Some(input) = &exchange.input {
        of_input(input, places, &mut show);
    }
    let Some(output) = &exchange.output else { return };
    show(About::Output, Label::Known(output.outcome.name()), 1);
    show(About::OutputBytes, Label::None, output.bytes_read);
    if let Some(grpc) = output.seen.grpc {
        show(About::OutputMessages, Label::None, grpc.messages);
        show(About::OutputMessageBytes, Label::None, grpc.bytes);
    }
    if output.is_understood() {
        show(About::Answers, Label::None, 1);
        if output.is_error() {
            show(About::ErrorObjects, Label::None, 1);
        }
    }
    let usage = &output.seen.usage;
    let mut counted = |(histogram, total), value: Option<u64>| {
        if let Some(value) = value {
            show(histogram, Label::None, value);
            show(total, Label::None, value);
        }
    };
    counted((About::InputTokens, About::InputTokensTotal), usage.input);
    counted((About::OutputTokens, About::OutputTokensTotal), usage.output);
    if output.is_read() && !output.is_error() {
        let length = exchange::output_length(output, places);
        counted((About::OutputLength, About::OutputLengthTotal), length);
        let confidence = exchange::confidence_of(output, places).map(thousandths);
        counted((About::Confidence, About::ConfidenceTotal), confidence);
        let value = exchange::value_of(output, places).filter(|_| !counts_labels).map(thousandths);
        counted((About::Value, About::ValueTotal), value);
    }
    let mut some = |about, value: Option<u64>| {
        if let Some(value) = value.filter(|value| *value > 0) {
            show(about, Label::None, value);
        }
    };
    some(About::CachedTokens, usage.cached);
    some(About::ReasoningTokens, usage.reasoning);
    some(About::Null, output.is_null().map(u64::from));
    some(About::Truncated, output.is_cut().map(u64::from));
    if let Some(first) = exchange.first_token {
        show(About::FirstToken, Label::None, first / 1_000_000);
    }
    if let Some(each) = exchange.per_token() {
        show(About::PerToken, Label::None, each / 1_000);
    }
    for Choice { finish, .. } in &output.seen.choices {
        show(About::Choices, Label::Known(finish.map_or("none", Finish::name)), 1);
    }
    if let Some(label) = exchange::label_of(output, places).filter(|_| counts_labels) {
        show(About::Labels, Label::Answer(label), 1);
    }
}

fn of_input<'a>(input: &'a Summary, places: &'a Places, show: &mut impl FnMut(About, Label<'a>, u64)) {
    show(About::Input, Label::Known(input.outcome.name()), 1);
    show(About::InputBytes, Label::None, input.bytes_read);
    if let Some(grpc) = input.seen.grpc {
        show(About::InputMessages, Label::None, grpc.messages);
        show(About::InputMessageBytes, Label::None, grpc.bytes);
    }
    if let Some(length) = exchange::input_length(input, places) {
        show(About::InputLength, Label::None, length);
        show(About::InputLengthTotal, Label::None, length);
    }
    if !input.is_read() {
        return;
    }
    for (name, at) in &places.fields {
        let Some(field) = input.seen.fields.get(*at) else { continue };
        show(About::Values, Label::Known(name), field.elements.count);
        show(About::Missing, Label::Known(name), field.elements.missing);
    }
    for (name, at) in &places.categories {
        let Some(field) = input.seen.fields.get(*at) else { continue };
        if !places.fields.iter().any(|(known, _)| known == name) {
            show(About::Values, Label::Known(name), field.elements.count);
        }
        show(About::Unseen, Label::Known(name), field.unseen);
    }
}

/// A part of one in thousandths; what lies outside is at the end.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped before; not a number is 0
fn thousandths(part: f64) -> u64 {
    (part.clamp(0.0, 1.0) * 1_000.0).round() as u64
}
